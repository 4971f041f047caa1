"""The differential of one patient: one table with bars, reference ranges where they are known, absolute counts."""

from collections.abc import Sequence

from leukoscope.entries import ClassRow, PatientEntry
from leukoscope.report.content import Content
from leukoscope.report.reference import LEUKOCYTES, Range, mark, ranges_for, sources_of
from leukoscope.report.words import cells_words, class_words, counted_words, escape, percent, plural

_ROLES = {"counted": "", "beside": "beside", "artefact": "not counted", "not_counted": "not counted"}
_MARKS = {"low": ("↓", "below the reference range"), "high": ("↑", "above the reference range"), "": ("", "")}


def differential_card(content: Content, patient: PatientEntry) -> str:
    """The table: class, bar, cells, share, and where they are known reference range, cells a volume and a mark."""
    stated = patient.get("stated") or {}
    per_nl = stated.get("leukocytes_per_nl") if patient["specimen"] == "blood" else None
    ranges = ranges_for(stated.get("age_years"), stated.get("sex"), specimen=patient["specimen"])
    table = _Table(content, patient, ranges, per_nl)
    of = cells_words(patient["denominator"])
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _facts(content, patient))
    return (
        f'<div class="card differential"><h3>Differential of {patient["n_counted"]:,} {of}</h3><div class="scroll"'
        f' role="region" tabindex="0" aria-label="Differential of {escape(patient["patient_id"])}"><table'
        ' class="counts"><thead><tr><th scope="col">Class</th><th scope="col" class="barcell"><span'
        f' class="hidden">Bar</span></th>{table.head()}'
        f'</tr></thead><tbody>{table.body()}</tbody></table></div><dl class="facts">{facts}</dl>'
        f"{_notes(stated, ranges, per_nl, patient)}</div>"
    )


def _facts(content: Content, patient: PatientEntry) -> list[tuple[str, str]]:
    """What stands beside the differential: how many cells, nucleated red cells, smudges, cells not identified."""
    provenance = content.record.provenance
    minimum = provenance["min_cells"]
    per_100, red_per_100 = patient["artefacts_per_100"], patient["nucleated_red_per_100"]
    smudges = "not known: no cells were counted" if per_100 is None else f"{per_100:.1f} per 100 counted cells"
    facts = [("Cells counted", counted_words(patient, minimum, provenance.get("usual_min_cells", minimum)))]
    if any(r["role"] == "beside" for r in patient["differential"]):
        share = "no leukocyte was counted" if red_per_100 is None else f"{red_per_100:.1f} per 100 leukocytes"
        red = plural(patient["n_nucleated_red"], "cell")
        facts.append(("Nucleated red cells", f"{red}: {share}; beside the differential"))
    facts.append(("Smudges, artefacts", f"{smudges}; in no ratio"))
    if provenance.get("unidentified_below"):
        limit = percent(provenance["unidentified_below"], 0)
        facts.append(("Not identified", f"{plural(patient['n_unidentified'], 'cell')} below {limit}; in no ratio"))
    return facts


class _Table:
    """What the rows of one table have in common."""

    def __init__(self, content: Content, patient: PatientEntry, ranges: Sequence[Range], per_nl: float | None) -> None:
        self.names, self.blasts = content.record.taxonomy.names, content.record.taxonomy.blasts
        self.rows = {row["class"]: row for row in patient["differential"]}
        self.ranges, self.per_nl = ranges, per_nl
        self.n = patient["n_counted"]
        largest = max((row["share"] or 0 for row in self.rows.values()), default=0)
        self.end = next(e for e in (0.25, 0.5, 0.75, 1.0) if largest <= e)

    def head(self) -> str:
        """The columns after the bar."""
        columns = ["Cells", "%"]
        columns += ["Reference, %"] if any(r.share for r in self.ranges) else []
        columns += ["10⁹/L"] if self.per_nl is not None else []
        columns += ["Reference, 10⁹/L"] if self._has_volumes() else []
        return "".join(f'<th scope="col">{c}</th>' for c in columns)

    def body(self) -> str:
        """Counted classes, with a sum where a range is about several; then what is beside them or not counted."""
        parts = [self._leukocytes()] if self.per_nl is not None else []
        done: set[str] = set()
        for role in _ROLES:
            for name, row in self.rows.items():
                if row["role"] != role or name in done:
                    continue
                together = self._together(name) if role == "counted" else ()
                parts += [self._sum(together)] if len(together) > 1 else []
                for member in together or (name,):
                    done.add(member)
                    parts.append(self._row(self.rows[member], part=len(together) > 1))
        return "".join(parts)

    def _has_volumes(self) -> bool:
        return self.per_nl is not None and any(r.per_nl for r in self.ranges)

    def _range(self, classes: Sequence[str]) -> Range | None:
        return next((r for r in self.ranges if r.classes and set(classes) <= set(r.classes)), None)

    def _together(self, name: str) -> tuple[str, ...]:
        """The counted classes of this patient's table that share the range of `name`; () without a range."""
        normal = self._range((name,))
        if normal is None:
            return ()
        return tuple(n for n, row in self.rows.items() if n in normal.classes and row["role"] == "counted")

    def _sum(self, classes: tuple[str, ...]) -> str:
        normal = self._range(classes)
        count = sum(self.rows[c]["count"] for c in classes)
        share = count / self.n if self.n else None
        return self._line(f"<b>{escape(normal.measure)}, all</b>", "", count, share, normal, kind="sum")

    def _row(self, row: ClassRow, *, part: bool) -> str:
        name, inside = row["class"], row["role"] == "counted"
        blast = ' <span class="tag">blast</span>' if name in self.blasts else ""
        words = escape(class_words(name)) + (blast if inside else f" <small>({_ROLES[row['role']]})</small>")
        bar = self._bar(row) if inside else ""
        normal = None if part or not inside else self._range((name,))
        kind = ("apart" if not inside else "part" if part else "") + ("" if row["count"] else " none")
        return self._line(words, bar, row["count"], row["share"] if inside else None, normal, kind=kind.strip())

    def _leukocytes(self) -> str:
        normal = next((r for r in self.ranges if r.measure == LEUKOCYTES), None)
        words = "<b>leukocytes</b> <small>(analyser)</small>"
        return self._line(words, "", None, 1.0, normal, kind="sum", show_share=False)

    def _line(
        self, words: str, bar: str, count: int | None, share: float | None, normal: Range | None, *, kind: str,
        show_share: bool = True,
    ) -> str:  # fmt: skip
        volume = None if self.per_nl is None or share is None else share * self.per_nl
        by_share = mark(share, normal.share if normal else None) if show_share else ""
        by_volume = mark(volume, normal.per_nl if normal else None)
        cells = ["" if count is None else f"{count:,}", _marked(percent(share) if show_share else "", by_share)]
        cells += [_limits(normal.share if normal else None, 100)] if any(r.share for r in self.ranges) else []
        cells += [_marked("–" if volume is None else f"{volume:.2f}", by_volume)] if self.per_nl is not None else []
        cells += [_limits(normal.per_nl if normal else None, 1)] if self._has_volumes() else []
        data = "".join(f"<td>{cell}</td>" for cell in cells)
        return f'<tr class="{kind}"><th scope="row">{words}</th><td class="barcell">{bar}</td>{data}</tr>'

    def _bar(self, row: ClassRow) -> str:
        width = 100 * (row["share"] or 0) / self.end
        return (
            '<svg class="bar" width="100%" height="12" aria-hidden="true"><rect class="rail" width="100%" height="12"'
            f' rx="3"/><rect class="fill k{self.names.index(row["class"])}" width="{width:.2f}%" height="12"'
            ' rx="3"/></svg>'
        )


def _marked(text: str, which: str) -> str:
    sign, words = _MARKS[which]
    if not sign:
        return text
    return f'<b class="off">{text} <span aria-hidden="true">{sign}</span><span class="hidden"> {words}</span></b>'


def _limits(limits: tuple[float, float] | None, times: int) -> str:
    return "" if limits is None else f"{times * limits[0]:g}–{times * limits[1]:g}"


def _notes(stated: dict, ranges: Sequence[Range], per_nl: float | None, patient: PatientEntry) -> str:
    """Where the ranges come from, or why there are none."""
    if patient["specimen"] != "blood":
        return ""
    if ranges:
        age, sex = stated["age_years"], stated.get("sex") or "sex not stated"
        text = f"Reference ranges for {age:g} years, {sex}: {'; '.join(sources_of(ranges))}. Your own may differ."
    elif stated.get("age_years") is None:
        text = "No reference ranges: the patient's age is not known (column age_years of patients.csv)."
    else:
        text = "No reference ranges: no source states any for this age."
    if per_nl is None:
        text += " No absolute counts: the analyser's leukocyte count is not known (column leukocytes_per_nl)."
    return f'<p class="hint">{escape(text)}</p>'
