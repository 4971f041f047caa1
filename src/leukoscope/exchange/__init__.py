"""A record in the forms of other systems: FHIR, DICOM, GeoJSON, tables. Each is a view; none holds haematology.

`formats.py` has the table of them; `findings.py` the numbers of one patient that all are made from.
"""
