-- Who saw what, and what was handed over; the words in braces are those of v0001_first.sql.
CREATE TABLE access (
    id {id} NOT NULL PRIMARY KEY, patient_id {ref} NOT NULL REFERENCES patient (id),
    reader_id {ref} NOT NULL REFERENCES reader (id), what TEXT NOT NULL, at BIGINT NOT NULL
);
CREATE INDEX ix_access_patient_id ON access (patient_id);

CREATE TABLE sent (
    id {id} NOT NULL PRIMARY KEY, signed_id {ref} NOT NULL REFERENCES signed (id),
    reader_id {ref} NOT NULL REFERENCES reader (id), system TEXT NOT NULL, at BIGINT NOT NULL
);
CREATE INDEX ix_sent_signed_id ON sent (signed_id);
