"""A damaged file of any kind ends in one line, or gives what is true; 3,000 of them: benchmarks/hardships."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from benchmarks.hardships.damaged_files import judge, nested, swapped, zeros
from benchmarks.hardships.damaged_originals import ORIGINALS
from leukoscope.errors import ConfigError, DataError, ImageError, InputError
from leukoscope.pipeline.sources import read_facts, read_patients_table
from leukoscope.train.config import RunConfig, build_config, read_toml

pytest.importorskip("torch")
pytest.importorskip("sqlalchemy")
SLOW = ("record, exported", "record, in the reading room", "records, against one another", "bundle")


@pytest.mark.parametrize("kind", [k for k in ORIGINALS if k not in SLOW])
def test_what_is_no_such_file_is_refused_in_one_line_or_true(kind, tmp_path):
    call = ORIGINALS[kind](tmp_path / "whole")
    assert judge(call.run, shutil.copytree(call.folder, tmp_path / "copy"))[0] == "taken"
    others = [b"[" * 20_000, b"\xff\xfe{\x00", b'{"a": [1, null, {}]}']
    for number, how in enumerate((swapped, swapped, swapped, nested, zeros)):
        file, place = call.files[number % len(call.files)], shutil.copytree(call.folder, tmp_path / str(number))
        data = others[number] if how is swapped else how(np.random.default_rng(number), file.read_bytes(), [])
        (place / file.relative_to(call.folder)).write_bytes(data)
        outcome, why = judge(call.run, place)
        assert outcome in ("refused", "taken"), f"{file.name}, {how.__name__}: {why}"


def test_a_flipped_bit_of_a_stopped_run_is_done_again_and_not_believed(tmp_path):
    call = ORIGINALS["stopped run, resumed"](tmp_path / "whole")
    journal = next(f for f in call.files if f.name == "journal.jsonl")
    data = bytearray(journal.read_bytes())
    at = data.rindex(b'"score":0.') + len(b'"score":0.')
    data[at] ^= 1  # another digit: valid JSON, and not what was found
    place = shutil.copytree(call.folder, tmp_path / "copy")
    (place / journal.relative_to(call.folder)).write_bytes(data)
    assert judge(call.run, place) == ("taken", "")  # the very record of the undisturbed run


LONG = "x y" * 40_000
TABLES = {
    "names of columns": f"file,patient_id,{LONG}\n".replace("patient_id", LONG),
    "a name where its patient is missing": f"file,patient_id\n{LONG},\n",
    "a number": f"file,patient_id,age_years\na.png,1,{LONG}\n",
    "a patient whose rows differ": f"file,patient_id,age_years\na.png,{LONG},1\nb.png,{LONG},2\n",
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_very_long_value_of_a_table_is_quoted_shortened(table, tmp_path):
    path = tmp_path / "patients.csv"
    path.write_text(table, "utf-8")
    with pytest.raises(InputError) as raised:
        read_patients_table(path)
        read_facts(path)
    assert str(path) in str(raised.value) and len(str(raised.value)) < 2000


def test_whatever_a_message_quotes_its_beginning_and_its_end_stay():
    for error in (DataError, lambda said: ImageError("damaged", said)):
        for value in (repr(LONG), LONG, "/" + "a" * 90_000, f'"{LONG}"', ", ".join(map(str, range(9000)))):
            said = str(error(f"a.toml has {value}: expected one of b, c; got {value!r}; remove it"))
            assert said.startswith("a.toml has ") and said.endswith("remove it") and len(said) <= 2100, said
    whole = f"{'long path/' * 15}{'a' * 200}.png is empty: take it anew"
    assert str(InputError(whole)) == whole and InputError().args


def test_a_very_long_key_of_a_configuration_is_quoted_shortened(tmp_path):
    path = tmp_path / "training.toml"
    path.write_text(f'"{LONG}" = 1\n', "utf-8")
    with pytest.raises(ConfigError) as raised:
        build_config(RunConfig, read_toml(path), path)
    assert len(str(raised.value)) < 2000
