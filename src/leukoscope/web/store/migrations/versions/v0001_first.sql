-- The tables of the first version, as SQLite and PostgreSQL both read them. Never edited: databases were made so.
-- {id}: a number that counts up by itself; {ref}: one of another table; {bytes}: binary.
CREATE TABLE attempt (id {id} NOT NULL PRIMARY KEY, who TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX attempt_of ON attempt (who, at);

CREATE TABLE reader (
    id {id} NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL, password TEXT, disabled BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE run (
    id {id} NOT NULL PRIMARY KEY, digest TEXT NOT NULL UNIQUE, folder TEXT NOT NULL, provenance TEXT NOT NULL,
    opened_at BIGINT NOT NULL
);

CREATE TABLE login (
    id {id} NOT NULL PRIMARY KEY, secret TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, reader_id {ref} REFERENCES reader (id),
    form_token TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, revoked BOOLEAN NOT NULL
);

CREATE TABLE patient (
    id {id} NOT NULL PRIMARY KEY, key TEXT NOT NULL UNIQUE, run_id {ref} NOT NULL REFERENCES run (id), label TEXT NOT NULL,
    specimen TEXT NOT NULL, center TEXT NOT NULL, entry TEXT NOT NULL, n_cells INTEGER NOT NULL,
    urgency INTEGER NOT NULL, marks TEXT NOT NULL, state TEXT NOT NULL, share FLOAT, read_ratio TEXT,
    n_seen INTEGER NOT NULL, n_corrected INTEGER NOT NULL, readers TEXT NOT NULL, changed_at BIGINT NOT NULL
);
CREATE INDEX ix_patient_label ON patient (label);
CREATE INDEX ix_patient_run_id ON patient (run_id);
CREATE INDEX patient_by_change ON patient (changed_at);
CREATE INDEX patient_by_state ON patient (state, urgency, share, id);
CREATE INDEX patient_by_urgency ON patient (urgency, share, id);

CREATE TABLE settings (
    id {id} NOT NULL PRIMARY KEY, reader_id {ref} REFERENCES reader (id), at BIGINT NOT NULL, toml TEXT NOT NULL
);

CREATE TABLE field (
    id {id} NOT NULL PRIMARY KEY, patient_id {ref} NOT NULL REFERENCES patient (id), number INTEGER NOT NULL,
    file TEXT NOT NULL, sha256 TEXT, smear TEXT NOT NULL, width INTEGER, height INTEGER, um_per_px FLOAT,
    scale_from TEXT, status TEXT NOT NULL, reason TEXT, place TEXT
);
CREATE INDEX field_of_patient ON field (patient_id, number);
CREATE INDEX ix_field_sha256 ON field (sha256);

CREATE TABLE reading (
    id {id} NOT NULL PRIMARY KEY, key TEXT NOT NULL UNIQUE, patient_id {ref} NOT NULL REFERENCES patient (id),
    reader_id {ref} NOT NULL REFERENCES reader (id), kind TEXT NOT NULL, state TEXT NOT NULL,
    version INTEGER NOT NULL, parents TEXT NOT NULL, hidden BOOLEAN NOT NULL, opened_at BIGINT NOT NULL,
    closed_at BIGINT, active_ms BIGINT NOT NULL, n_events INTEGER NOT NULL
);
CREATE INDEX ix_reading_patient_id ON reading (patient_id);

CREATE TABLE cell (
    id {id} NOT NULL PRIMARY KEY, patient_id {ref} NOT NULL REFERENCES patient (id),
    field_id {ref} NOT NULL REFERENCES field (id), number INTEGER NOT NULL, reading_id {ref}, called INTEGER,
    probs {bytes}, score FLOAT NOT NULL, x0 FLOAT NOT NULL, y0 FLOAT NOT NULL, x1 FLOAT NOT NULL,
    y1 FLOAT NOT NULL, thumb_at BIGINT, contour TEXT
);
CREATE INDEX cell_of_patient ON cell (patient_id, id);

CREATE TABLE event (
    id {id} NOT NULL PRIMARY KEY, reading_id {ref} NOT NULL REFERENCES reading (id), seq INTEGER NOT NULL,
    at BIGINT NOT NULL, reader_id {ref} NOT NULL REFERENCES reader (id), kind TEXT NOT NULL, payload TEXT NOT NULL,
    op TEXT NOT NULL, hash TEXT NOT NULL, UNIQUE (reading_id, op), UNIQUE (reading_id, seq)
);

CREATE TABLE signed (
    id {id} NOT NULL PRIMARY KEY, patient_id {ref} NOT NULL REFERENCES patient (id),
    reading_id {ref} NOT NULL REFERENCES reading (id), version INTEGER NOT NULL,
    reader_id {ref} NOT NULL REFERENCES reader (id), at BIGINT NOT NULL, record TEXT NOT NULL, digest TEXT NOT NULL,
    UNIQUE (patient_id, version)
);
CREATE INDEX ix_signed_patient_id ON signed (patient_id);

CREATE TABLE step (
    reading_id {ref} NOT NULL REFERENCES reading (id), seq INTEGER NOT NULL, done BOOLEAN NOT NULL,
    PRIMARY KEY (reading_id, seq)
);

CREATE TABLE feature (cell_id {ref} NOT NULL PRIMARY KEY REFERENCES cell (id), vector {bytes} NOT NULL);

CREATE TABLE now (
    reading_id {ref} NOT NULL REFERENCES reading (id), cell_id {ref} NOT NULL REFERENCES cell (id), call TEXT,
    seen BOOLEAN NOT NULL, box TEXT, gone BOOLEAN NOT NULL, hidden BOOLEAN NOT NULL, seq INTEGER NOT NULL,
    reader_id {ref} NOT NULL REFERENCES reader (id), PRIMARY KEY (reading_id, cell_id)
);

CREATE TABLE touched (
    cell_id {ref} NOT NULL REFERENCES cell (id), event_id {ref} NOT NULL REFERENCES event (id),
    PRIMARY KEY (cell_id, event_id)
);
