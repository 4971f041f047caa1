"""Sheets of a spreadsheet: the one writer of XLSX. Text stays text, whatever it begins with."""

from collections.abc import Iterable
from typing import IO

from leukoscope.exchange.text import printable, shortened

LONGEST_TEXT = 32_767  # characters of a cell, rows of a sheet: the limits of XLSX
MOST_ROWS = 1_048_576
MORE = "The sheet is full: the further rows are in the CSV file."


def write_workbook(file: IO[bytes], sheets: Iterable[tuple[str, Iterable[Iterable]]]) -> None:
    """Write sheets (title, rows of texts, numbers and None) as XLSX; the first row of each stays in view.

    Rows are written as they come (openpyxl's write-only mode): memory is that of a row. No text becomes a formula, a
    date or a link; control characters, which XLSX can't hold, are written out.
    """
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    for title, rows in sheets:
        sheet = book.create_sheet(title)
        sheet.freeze_panes = "A2"
        for number, row in enumerate(rows, 1):
            if number == MOST_ROWS:
                row = [MORE]
            sheet.append([_cell(WriteOnlyCell, sheet, value) for value in row])
            if number == MOST_ROWS:
                break
    book.save(file)


def _cell(make, sheet, value: object):
    if not isinstance(value, str):
        return value
    cell = make(sheet, None)
    cell._value, cell.data_type = shortened(printable(value), LONGEST_TEXT), "s"  # its setter would look for formulas
    return cell
