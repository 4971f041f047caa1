BEGIN TRANSACTION;
CREATE TABLE access (
	id INTEGER NOT NULL, 
	patient_id INTEGER NOT NULL, 
	reader_id INTEGER NOT NULL, 
	what TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(patient_id) REFERENCES patient (id), 
	FOREIGN KEY(reader_id) REFERENCES reader (id)
);
INSERT INTO "access" VALUES(1,1,2,'cells',1795713187697);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE attempt (
	id INTEGER NOT NULL, 
	who TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE cell (
	id INTEGER NOT NULL, 
	patient_id INTEGER NOT NULL, 
	field_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	reading_id INTEGER, 
	called INTEGER, 
	probs BLOB, 
	score FLOAT NOT NULL, 
	x0 FLOAT NOT NULL, 
	y0 FLOAT NOT NULL, 
	x1 FLOAT NOT NULL, 
	y1 FLOAT NOT NULL, 
	thumb_at BIGINT, 
	contour TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(field_id) REFERENCES field (id), 
	FOREIGN KEY(patient_id) REFERENCES patient (id)
);
INSERT INTO "cell" VALUES(1,1,1,0,NULL,1,X'5B061C3EFCA8523F6DA9033B5186AA3A17F45E3B821C143B2594BE3AE8A38C3A3735503B0470333BAEB74D3B884CF93AF0BF153B',0.5112,98.2,87.7,147.5,137.0,0,NULL);
INSERT INTO "cell" VALUES(2,1,1,1,NULL,1,X'90F9003932027A3F5C91183BF437213AF5BD863AF9BE383B4ED1113B067F3F3B09513E3BB22FD93AC619433BD350233B863AAC3A',0.6957,281.1,84.1,332.3,135.3,2896,NULL);
INSERT INTO "cell" VALUES(3,1,1,2,NULL,1,X'6AFAEC3AB1C27D3F800D883A9835B139CB9D9939B22C983A76C50C3A40DA7F39BF49D339D141973AEA758B3A6E154439B893083A',0.7756,501.3,110.8,554.7,164.2,5720,NULL);
INSERT INTO "cell" VALUES(4,1,1,3,NULL,0,X'3E977D3F4913EF38404E983A94A0BF3A27A0893AD1CDFE391DE4F5394701A239D87DC73A0951BE395DA36539CF81E53ADE1E043A',0.728,96.1,325.7,145.4,375.1,9016,NULL);
INSERT INTO "cell" VALUES(5,2,2,0,NULL,1,X'EC6AF23BAD34793F1F679A3A8F368E3A1D580E3AC0AF113B4EB7EC3A40F7653B2D93613BBCB1203AAED7F43A4913EF3AD1048A3A',0.8401,88.1,70.5,136.1,118.5,11940,NULL);
INSERT INTO "cell" VALUES(6,2,2,1,NULL,10,X'FD33833AAC3C013A20F0403AD8F4A03AB9AB573D1D5B4F3A6CCCEB3AD1CA3D3AF168E33AFB73D13A31286F3FA1BDFA3A85EE923A',0.8078,317.1,111.3,368.7,163.0,15052,NULL);
INSERT INTO "cell" VALUES(7,2,2,2,NULL,4,X'1213543A40DA7F396AF7AB3ABDFDB93A758F783F6C40843A6B7D113A5776C13AEAB2983A0954FF393E07963C4F3DD23AB91C2F3A',0.5876,510.9,88.3,547.2,124.6,17512,NULL);
INSERT INTO "cell" VALUES(8,2,2,3,NULL,4,X'83A5BA3A43E64A3AED0DBE3AFE7F9C3AB1197C3F520C903A08CBD83AA4C6843ADB89923AAC8BDB3AA5D8D13A800D883A705E9C3A',0.5458,67.8,362.6,109.2,403.9,20120,NULL);
INSERT INTO "cell" VALUES(9,1,1,4,1,NULL,NULL,1.0,5.0,5.0,40.0,40.0,NULL,NULL);
CREATE TABLE event (
	id INTEGER NOT NULL, 
	reading_id INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	reader_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	payload TEXT NOT NULL, 
	op TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(reader_id) REFERENCES reader (id), 
	FOREIGN KEY(reading_id) REFERENCES reading (id), 
	UNIQUE (reading_id, op), 
	UNIQUE (reading_id, seq)
);
INSERT INTO "event" VALUES(1,1,1,1795713186787,1,'start','{"cells":{},"differ":[]}','start-1','de04e616dfc91c15748bf888c1de7be6bf22975d51cfe542130144dea88fc60c');
INSERT INTO "event" VALUES(2,1,2,1795713186832,1,'call','{"before":{"1":[null,false,null,false],"2":[null,false,null,false]},"call":"monocyte","cells":[1,2],"hidden":false,"ms":0}','op-0','a51471cc0d59a68b76adc834e9b754e64695337c73031ec05ba29c2cb787f741');
INSERT INTO "event" VALUES(3,1,3,1795713186898,1,'add','{"before":{"9":[null,false,null,true]},"call":"unidentified","cells":[9],"gone":false,"hidden":false,"ms":0}','op-1','138c9a963632022e5159656a7915a76015dea072ba1435551fb7f7b0ed84c688');
INSERT INTO "event" VALUES(4,1,4,1795713186936,1,'undo','{"before":{"9":[null,false,null,true]},"cells":[9],"of":3}','u1','a724e81cfc6a313ee6fb0afd2e18b91d64b65d5e28548290fd9a72079923da81');
INSERT INTO "event" VALUES(5,1,5,1795713186984,1,'seen','{"cells":[1,2,3,4],"ms":0}','s1','1522b5e9bff333569a1b98630ab89dcc7b9752e139e0ee8ebacb9b60cb113130');
INSERT INTO "event" VALUES(6,2,1,1795713187057,2,'start','{"cells":{},"differ":[]}','start-2','dadf2d62e391a8f7c14ed95ebd6a0eabe11371a5a3ee3bc7f0989f153978bdbf');
INSERT INTO "event" VALUES(7,2,2,1795713187192,2,'call','{"before":{"1":[null,false,null,false]},"call":"lymphocyte","cells":[1],"hidden":false,"ms":0}','op-2','0a44a925f789c975d77f5387d09310bc31ef83f8be653004efba8ac2c18b6261');
INSERT INTO "event" VALUES(8,1,6,1795713187286,1,'done','{}','d1','ff7d024d1bfe97e88ee8f358ca3dde6b69de5d3962244884e49bfecc91d4edbc');
INSERT INTO "event" VALUES(9,2,3,1795713187354,2,'done','{}','d2','0a9ac52fa6da0fa4e3b28fbe3450e09116a853381d6aa359bff9da7992e28a04');
INSERT INTO "event" VALUES(10,3,1,1795713187390,1,'start','{"cells":{"3":[null,false,null,false,false,1],"4":[null,false,null,false,false,1]},"differ":[1,2]}','start-3','f75ea3bf7f832d0313f71bd4035130296b6fb45fd71514fef68c11a1e2769ccc');
INSERT INTO "event" VALUES(11,3,2,1795713187424,1,'call','{"before":{"1":[null,false,null,false],"2":[null,false,null,false]},"call":"monocyte","cells":[1,2],"hidden":false,"ms":0}','op-3','91013f6332912a480e3b1f39b15b3661b76c07365f6f7f0043ce5786dd788d60');
INSERT INTO "event" VALUES(12,3,3,1795713187534,1,'sign','{"digest":"b31fcbdbcf5a21da87c16cbad20b1c551c92d93af1eb4a532917285e490ca902"}','sign','cab1583fe679b9176017f464fda1ede5020995bb061685ab34d6c2b09f037375');
INSERT INTO "event" VALUES(13,4,1,1795713187612,1,'start','{"cells":{"1":["monocyte",true,null,false,false,1],"2":["monocyte",true,null,false,false,1],"3":[null,false,null,false,false,1],"4":[null,false,null,false,false,1]},"differ":[]}','start-4','5fa5325e69f5eee58558621db8d46431a8657548d225dde7890f49d754422256');
INSERT INTO "event" VALUES(14,4,2,1795713187627,1,'reopen','{"reason":"look again"}','reopen-4','7d7c2357826ec2f30b6a91c055717f47395161308814e41fff9b71656cd9befb');
CREATE TABLE feature (
	cell_id INTEGER NOT NULL, 
	vector BLOB NOT NULL, 
	PRIMARY KEY (cell_id), 
	FOREIGN KEY(cell_id) REFERENCES cell (id)
);
CREATE TABLE field (
	id INTEGER NOT NULL, 
	patient_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	file TEXT NOT NULL, 
	sha256 TEXT, 
	smear TEXT NOT NULL, 
	width INTEGER, 
	height INTEGER, 
	um_per_px FLOAT, 
	scale_from TEXT, 
	status TEXT NOT NULL, 
	reason TEXT, 
	place TEXT, pages TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(patient_id) REFERENCES patient (id)
);
INSERT INTO "field" VALUES(1,1,0,'/run/images/field_0000.jpg','3c7725a2531f40a74920bb266b9fb9654a76a386bba740fdbc229740782a3413','S1',640,480,0.12,NULL,'ok',NULL,NULL,NULL);
INSERT INTO "field" VALUES(2,2,1,'/run/images/field_0001.jpg','8c47374123e0fdcb82aed81b5b2cacb0feffa9c0ea1054947d6aa83ec8126faf','S2',640,480,0.12,NULL,'ok',NULL,NULL,NULL);
CREATE TABLE login (
	id INTEGER NOT NULL, 
	secret TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	reader_id INTEGER, 
	form_token TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	revoked BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(reader_id) REFERENCES reader (id), 
	UNIQUE (secret)
);
CREATE TABLE now (
	reading_id INTEGER NOT NULL, 
	cell_id INTEGER NOT NULL, 
	call TEXT, 
	seen BOOLEAN NOT NULL, 
	box TEXT, 
	gone BOOLEAN NOT NULL, 
	hidden BOOLEAN NOT NULL, 
	seq INTEGER NOT NULL, 
	reader_id INTEGER NOT NULL, 
	PRIMARY KEY (reading_id, cell_id), 
	FOREIGN KEY(cell_id) REFERENCES cell (id), 
	FOREIGN KEY(reader_id) REFERENCES reader (id), 
	FOREIGN KEY(reading_id) REFERENCES reading (id)
);
INSERT INTO "now" VALUES(1,1,'monocyte',1,NULL,0,0,2,1);
INSERT INTO "now" VALUES(1,2,'monocyte',1,NULL,0,0,2,1);
INSERT INTO "now" VALUES(1,9,NULL,0,NULL,1,0,4,1);
INSERT INTO "now" VALUES(1,3,NULL,1,NULL,0,0,0,1);
INSERT INTO "now" VALUES(1,4,NULL,1,NULL,0,0,0,1);
INSERT INTO "now" VALUES(2,1,'lymphocyte',1,NULL,0,0,2,2);
INSERT INTO "now" VALUES(3,3,NULL,0,NULL,0,0,0,1);
INSERT INTO "now" VALUES(3,4,NULL,0,NULL,0,0,0,1);
INSERT INTO "now" VALUES(3,1,'monocyte',1,NULL,0,0,2,1);
INSERT INTO "now" VALUES(3,2,'monocyte',1,NULL,0,0,2,1);
INSERT INTO "now" VALUES(4,1,'monocyte',1,NULL,0,0,0,1);
INSERT INTO "now" VALUES(4,2,'monocyte',1,NULL,0,0,0,1);
INSERT INTO "now" VALUES(4,3,NULL,0,NULL,0,0,0,1);
INSERT INTO "now" VALUES(4,4,NULL,0,NULL,0,0,0,1);
CREATE TABLE patient (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	specimen TEXT NOT NULL, 
	center TEXT NOT NULL, 
	entry TEXT NOT NULL, 
	n_cells INTEGER NOT NULL, 
	urgency INTEGER NOT NULL, 
	marks TEXT NOT NULL, 
	state TEXT NOT NULL, 
	share FLOAT, 
	read_ratio TEXT, 
	n_seen INTEGER NOT NULL, 
	n_corrected INTEGER NOT NULL, 
	readers TEXT NOT NULL, 
	changed_at BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(run_id) REFERENCES run (id), 
	UNIQUE ("key")
);
INSERT INTO "patient" VALUES(1,'VWbk-92YLhLB',1,'A-101','blood','Drawn hospital','{"patient_id": "A-101", "specimen": "blood", "center": ["Drawn hospital"], "smear_ids": ["S1"], "n_fields": 1, "n_failed": 0, "n_poor": 0, "n_cells": 4, "denominator": "leukocytes", "n_counted": 4, "count_tier": "scan only (fewer than 100 cells)", "n_nucleated_red": 0, "nucleated_red_per_100": 0.0, "n_unidentified": 0, "differential": [{"class": "band_neutrophil", "count": 1, "expected": 1.144888, "share": 0.25, "role": "counted"}, {"class": "segmented_neutrophil", "count": 3, "expected": 2.790853, "share": 0.75, "role": "counted"}, {"class": "eosinophil", "count": 0, "expected": 0.006537, "share": 0.0, "role": "counted"}, {"class": "basophil", "count": 0, "expected": 0.003716, "share": 0.0, "role": "counted"}, {"class": "lymphocyte", "count": 0, "expected": 0.005773, "share": 0.0, "role": "counted"}, {"class": "monocyte", "count": 0, "expected": 0.006726, "share": 0.0, "role": "counted"}, {"class": "promyelocyte", "count": 0, "expected": 0.004685, "share": 0.0, "role": "counted"}, {"class": "myelocyte", "count": 0, "expected": 0.004548, "share": 0.0, "role": "counted"}, {"class": "metamyelocyte", "count": 0, "expected": 0.008006, "share": 0.0, "role": "counted"}, {"class": "erythroblast", "count": 0, "expected": 0.005912, "share": null, "role": "beside"}, {"class": "lymphoblast", "count": 0, "expected": 0.007399, "share": 0.0, "role": "counted"}, {"class": "apl_promyelocyte", "count": 0, "expected": 0.006332, "share": 0.0, "role": "counted"}, {"class": "artefact", "count": 0, "expected": 0.004624, "share": null, "role": "artefact"}], "ratios": [{"name": "blasts", "of": "leukocytes", "numerator": 0, "denominator": 4, "value": 0.0, "low": 0.0, "high": 0.602365, "level": 0.95, "method": "clopper-pearson", "band": null, "band_reason": "several_lines", "band_minimum": 100, "lines": [], "covers": "sampling error only; not the classifier''s errors", "further_cells": [], "none_seen": {"upper": 0.527129, "level": 0.95, "further_cells": [{"threshold": 0.05, "cells": 55, "fields": 14}, {"threshold": 0.01, "cells": 295, "fields": 74}]}, "corrected": null}, {"name": "myeloid_blasts", "of": "leukocytes", "numerator": 0, "denominator": 4, "value": 0.0, "low": 0.0, "high": 0.602365, "level": 0.95, "method": "clopper-pearson", "band": null, "band_reason": "too_few_cells", "band_minimum": 100, "lines": [0.05, 0.1, 0.2], "covers": "sampling error only; not the classifier''s errors", "further_cells": [{"threshold": 0.05, "cells": 68, "fields": 17}, {"threshold": 0.1, "cells": 32, "fields": 8}, {"threshold": 0.2, "cells": 13, "fields": 4}], "none_seen": {"upper": 0.527129, "level": 0.95, "further_cells": [{"threshold": 0.05, "cells": 55, "fields": 14}, {"threshold": 0.01, "cells": 295, "fields": 74}]}, "corrected": null}, {"name": "lymphoid_blasts", "of": "leukocytes", "numerator": 0, "denominator": 4, "value": 0.0, "low": 0.0, "high": 0.602365, "level": 0.95, "method": "clopper-pearson", "band": null, "band_reason": "lymphoid", "band_minimum": 100, "lines": [], "covers": "sampling error only; not the classifier''s errors", "further_cells": [], "none_seen": {"upper": 0.527129, "level": 0.95, "further_cells": [{"threshold": 0.05, "cells": 55, "fields": 14}, {"threshold": 0.01, "cells": 295, "fields": 74}]}, "corrected": null}], "artefacts_per_100": 0.0, "flags": [{"code": "few_cells", "text": "Only 4 leukocytes were counted: at least 100 were asked for, laboratories count 200 in blood.", "healthy": null}]}',4,3,'["few_cells"]','re-opened',0.0,'{"band":null,"band_minimum":100,"band_reason":"several_lines","corrected":null,"covers":"sampling error only; not the classifier''s errors","denominator":4,"further_cells":[],"high":0.602365,"level":0.95,"lines":[],"low":0.0,"method":"clopper-pearson","name":"blasts","none_seen":{"further_cells":[{"cells":55,"fields":14,"threshold":0.05},{"cells":295,"fields":74,"threshold":0.01}],"level":0.95,"upper":0.527129},"numerator":0,"of":"leukocytes","value":0.0}',2,2,'Anna',1795713187657);
INSERT INTO "patient" VALUES(2,'xekezjh0zbqF',1,'B-202 <script>alert(1)</script>','blood','Drawn hospital','{"patient_id": "B-202 <script>alert(1)</script>", "specimen": "blood", "center": ["Drawn hospital"], "smear_ids": ["S2"], "n_fields": 1, "n_failed": 0, "n_poor": 0, "n_cells": 4, "denominator": "leukocytes", "n_counted": 4, "count_tier": "scan only (fewer than 100 cells)", "n_nucleated_red": 0, "nucleated_red_per_100": 0.0, "n_unidentified": 0, "differential": [{"class": "band_neutrophil", "count": 0, "expected": 0.010632, "share": 0.0, "role": "counted"}, {"class": "segmented_neutrophil", "count": 1, "expected": 0.974971, "share": 0.25, "role": "counted"}, {"class": "eosinophil", "count": 0, "expected": 0.004676, "share": 0.0, "role": "counted"}, {"class": "basophil", "count": 0, "expected": 0.004926, "share": 0.0, "role": "counted"}, {"class": "lymphocyte", "count": 2, "expected": 2.008903, "share": 0.5, "role": "counted"}, {"class": "monocyte", "count": 0, "expected": 0.005122, "share": 0.0, "role": "counted"}, {"class": "promyelocyte", "count": 0, "expected": 0.005814, "share": 0.0, "role": "counted"}, {"class": "myelocyte", "count": 0, "expected": 0.006722, "share": 0.0, "role": "counted"}, {"class": "metamyelocyte", "count": 0, "expected": 0.00746, "share": 0.0, "role": "counted"}, {"class": "erythroblast", "count": 0, "expected": 0.004373, "share": null, "role": "beside"}, {"class": "lymphoblast", "count": 1, "expected": 0.95599, "share": 0.25, "role": "counted"}, {"class": "apl_promyelocyte", "count": 0, "expected": 0.006379, "share": 0.0, "role": "counted"}, {"class": "artefact", "count": 0, "expected": 0.004035, "share": null, "role": "artefact"}], "ratios": [{"name": "blasts", "of": "leukocytes", "numerator": 1, "denominator": 4, "value": 0.25, "low": 0.006309, "high": 0.80588, "level": 0.95, "method": "clopper-pearson", "band": null, "band_reason": "several_lines", "band_minimum": 100, "lines": [], "covers": "sampling error only; not the classifier''s errors", "further_cells": [], "none_seen": null, "corrected": null}, {"name": "myeloid_blasts", "of": "leukocytes", "numerator": 0, "denominator": 4, "value": 0.0, "low": 0.0, "high": 0.602365, "level": 0.95, "method": "clopper-pearson", "band": null, "band_reason": "too_few_cells", "band_minimum": 100, "lines": [0.05, 0.1, 0.2], "covers": "sampling error only; not the classifier''s errors", "further_cells": [{"threshold": 0.05, "cells": 68, "fields": 17}, {"threshold": 0.1, "cells": 32, "fields": 8}, {"threshold": 0.2, "cells": 13, "fields": 4}], "none_seen": {"upper": 0.527129, "level": 0.95, "further_cells": [{"threshold": 0.05, "cells": 55, "fields": 14}, {"threshold": 0.01, "cells": 295, "fields": 74}]}, "corrected": null}, {"name": "lymphoid_blasts", "of": "leukocytes", "numerator": 1, "denominator": 4, "value": 0.25, "low": 0.006309, "high": 0.80588, "level": 0.95, "method": "clopper-pearson", "band": null, "band_reason": "lymphoid", "band_minimum": 100, "lines": [], "covers": "sampling error only; not the classifier''s errors", "further_cells": [], "none_seen": null, "corrected": null}], "artefacts_per_100": 0.0, "flags": [{"code": "review_blasts", "text": "1 of 4 counted cells were called blasts: a morphologist must look at them.", "healthy": null}, {"code": "few_cells", "text": "Only 4 leukocytes were counted: at least 100 were asked for, laboratories count 200 in blood.", "healthy": null}]}',4,3,'["review_blasts", "few_cells"]','new',0.006309,NULL,0,0,'',1795713186702);
CREATE TABLE reader (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	role TEXT NOT NULL, 
	password TEXT, 
	disabled BOOLEAN NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "reader" VALUES(1,'Anna','admin',NULL,0,1795713186726);
INSERT INTO "reader" VALUES(2,'Ben','admin',NULL,0,1795713186746);
CREATE TABLE reading (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	patient_id INTEGER NOT NULL, 
	reader_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	state TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	parents TEXT NOT NULL, 
	hidden BOOLEAN NOT NULL, 
	opened_at BIGINT NOT NULL, 
	closed_at BIGINT, 
	active_ms BIGINT NOT NULL, 
	n_events INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(patient_id) REFERENCES patient (id), 
	FOREIGN KEY(reader_id) REFERENCES reader (id), 
	UNIQUE ("key")
);
INSERT INTO "reading" VALUES(1,'_BaK2tN1zhFp',1,1,'first','done',1,'[]',0,1795713186785,1795713187287,0,6);
INSERT INTO "reading" VALUES(2,'2WbXNzGpKQt0',1,2,'second','done',1,'[]',0,1795713187048,1795713187355,0,3);
INSERT INTO "reading" VALUES(3,'lxQkh3U9r5Ul',1,1,'adjudication','signed',1,'[1, 2]',0,1795713187381,1795713187535,0,3);
INSERT INTO "reading" VALUES(4,'9pwfHPzbcMZm',1,1,'first','open',2,'[3]',0,1795713187611,NULL,0,2);
CREATE TABLE run (
	id INTEGER NOT NULL, 
	digest TEXT NOT NULL, 
	folder TEXT NOT NULL, 
	provenance TEXT NOT NULL, 
	opened_at BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (digest)
);
INSERT INTO "run" VALUES(1,'07e43c3b83686ec5637eebd9af26f12a987a07ef21cfe9163663d120ec85f17b','run','{"leukoscope": "0.1.0", "models": {"locator": {"name": "drawn-locator", "onnx_sha256": "64b36c4d06e4a51707b252b851f1d374a10c1fe5b89851922e4c79f711d42e68"}, "classifier": {"name": "drawn-classifier", "onnx_sha256": "fe1991a9d8b6abd7ff7c58d5e22b4538a75dadae9f33dcca784e7a87c2d0f6ae"}}, "taxonomy": {"name": "blood-13-drawn", "names": ["band_neutrophil", "segmented_neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte", "promyelocyte", "myelocyte", "metamyelocyte", "erythroblast", "lymphoblast", "apl_promyelocyte", "artefact"], "counted": ["band_neutrophil", "segmented_neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte", "promyelocyte", "myelocyte", "metamyelocyte", "erythroblast", "lymphoblast", "apl_promyelocyte"], "blasts": ["lymphoblast", "apl_promyelocyte"], "artefacts": ["artefact"], "composites": {}}, "taxonomy_sha256": "236eab34c94b6f3de23a2f8fb6b85ae88fc651849cfe954af5e9fc83146031e6", "specimen": "blood", "um_per_px": 0.12, "min_cells": 100, "usual_min_cells": 200, "unidentified_below": 0.0, "not_offered": [{"code": "unlike_cells", "text": "Whether cells are unlike those the model knows is not told: its card has no reference."}], "options": {"model": "drawn"}, "use": "Research use only. Not for diagnosis. A morphologist must review."}',1795713186701);
CREATE TABLE sent (
	id INTEGER NOT NULL, 
	signed_id INTEGER NOT NULL, 
	reader_id INTEGER NOT NULL, 
	system TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(reader_id) REFERENCES reader (id), 
	FOREIGN KEY(signed_id) REFERENCES signed (id)
);
INSERT INTO "sent" VALUES(1,1,1,'LIS',1795713187591);
CREATE TABLE settings (
	id INTEGER NOT NULL, 
	reader_id INTEGER, 
	at BIGINT NOT NULL, 
	toml TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(reader_id) REFERENCES reader (id)
);
CREATE TABLE signed (
	id INTEGER NOT NULL, 
	patient_id INTEGER NOT NULL, 
	reading_id INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	reader_id INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	record TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(patient_id) REFERENCES patient (id), 
	FOREIGN KEY(reader_id) REFERENCES reader (id), 
	FOREIGN KEY(reading_id) REFERENCES reading (id), 
	UNIQUE (patient_id, version)
);
INSERT INTO "signed" VALUES(1,1,3,1,1,1795713187519,'{"agreement_with_model":{"hidden":{"high":null,"kept":0,"low":null,"n":0},"shown":{"high":0.841886,"kept":0,"low":0.0,"n":2}},"cells":[{"box":[98.2,87.7,147.5,137.0],"call":"monocyte","cell":1,"class":"monocyte","field":0,"file":"/run/images/field_0000.jpg","hidden":false,"model":"segmented_neutrophil","reader":"Anna","seen":true},{"box":[281.1,84.1,332.3,135.3],"call":"monocyte","cell":2,"class":"monocyte","field":0,"file":"/run/images/field_0000.jpg","hidden":false,"model":"segmented_neutrophil","reader":"Anna","seen":true},{"box":[501.3,110.8,554.7,164.2],"call":null,"cell":3,"class":"segmented_neutrophil","field":0,"file":"/run/images/field_0000.jpg","hidden":false,"model":"segmented_neutrophil","reader":null,"seen":false},{"box":[96.1,325.7,145.4,375.1],"call":null,"cell":4,"class":"band_neutrophil","field":0,"file":"/run/images/field_0000.jpg","hidden":false,"model":"band_neutrophil","reader":null,"seen":false}],"center":"Drawn hospital","log":{"events":2,"hash":"91013f6332912a480e3b1f39b15b3661b76c07365f6f7f0043ce5786dd788d60"},"numbers":{"before":[{"band":null,"band_minimum":100,"band_reason":"several_lines","corrected":null,"covers":"sampling error only; not the classifier''s errors","denominator":4,"further_cells":[],"high":0.602365,"level":0.95,"lines":[],"low":0.0,"method":"clopper-pearson","name":"blasts","none_seen":{"further_cells":[{"cells":55,"fields":14,"threshold":0.05},{"cells":295,"fields":74,"threshold":0.01}],"level":0.95,"upper":0.527129},"numerator":0,"of":"leukocytes","value":0.0},{"band":null,"band_minimum":100,"band_reason":"too_few_cells","corrected":null,"covers":"sampling error only; not the classifier''s errors","denominator":4,"further_cells":[{"cells":68,"fields":17,"threshold":0.05},{"cells":32,"fields":8,"threshold":0.1},{"cells":13,"fields":4,"threshold":0.2}],"high":0.602365,"level":0.95,"lines":[0.05,0.1,0.2],"low":0.0,"method":"clopper-pearson","name":"myeloid_blasts","none_seen":{"further_cells":[{"cells":55,"fields":14,"threshold":0.05},{"cells":295,"fields":74,"threshold":0.01}],"level":0.95,"upper":0.527129},"numerator":0,"of":"leukocytes","value":0.0},{"band":null,"band_minimum":100,"band_reason":"lymphoid","corrected":null,"covers":"sampling error only; not the classifier''s errors","denominator":4,"further_cells":[],"high":0.602365,"level":0.95,"lines":[],"low":0.0,"method":"clopper-pearson","name":"lymphoid_blasts","none_seen":{"further_cells":[{"cells":55,"fields":14,"threshold":0.05},{"cells":295,"fields":74,"threshold":0.01}],"level":0.95,"upper":0.527129},"numerator":0,"of":"leukocytes","value":0.0}],"differential":[{"before":1,"class":"band_neutrophil","count":1,"share":0.25},{"before":3,"class":"segmented_neutrophil","count":1,"share":0.25},{"before":0,"class":"eosinophil","count":0,"share":0.0},{"before":0,"class":"basophil","count":0,"share":0.0},{"before":0,"class":"lymphocyte","count":0,"share":0.0},{"before":0,"class":"monocyte","count":2,"share":0.5},{"before":0,"class":"promyelocyte","count":0,"share":0.0},{"before":0,"class":"myelocyte","count":0,"share":0.0},{"before":0,"class":"metamyelocyte","count":0,"share":0.0},{"before":0,"class":"erythroblast","count":0,"share":null},{"before":0,"class":"lymphoblast","count":0,"share":0.0},{"before":0,"class":"apl_promyelocyte","count":0,"share":0.0},{"before":0,"class":"artefact","count":0,"share":null}],"flags":[{"code":"few_cells","healthy":null,"text":"Only 4 leukocytes were counted: at least 100 were asked for, laboratories count 200 in blood."}],"n_cells":4,"n_counted":4,"ratios":[{"band":null,"band_minimum":100,"band_reason":"several_lines","corrected":null,"covers":"sampling error only; not the classifier''s errors","denominator":4,"further_cells":[],"high":0.602365,"level":0.95,"lines":[],"low":0.0,"method":"clopper-pearson","name":"blasts","none_seen":{"further_cells":[{"cells":55,"fields":14,"threshold":0.05},{"cells":295,"fields":74,"threshold":0.01}],"level":0.95,"upper":0.527129},"numerator":0,"of":"leukocytes","value":0.0},{"band":null,"band_minimum":100,"band_reason":"too_few_cells","corrected":null,"covers":"sampling error only; not the classifier''s errors","denominator":4,"further_cells":[{"cells":68,"fields":17,"threshold":0.05},{"cells":32,"fields":8,"threshold":0.1},{"cells":13,"fields":4,"threshold":0.2}],"high":0.602365,"level":0.95,"lines":[0.05,0.1,0.2],"low":0.0,"method":"clopper-pearson","name":"myeloid_blasts","none_seen":{"further_cells":[{"cells":55,"fields":14,"threshold":0.05},{"cells":295,"fields":74,"threshold":0.01}],"level":0.95,"upper":0.527129},"numerator":0,"of":"leukocytes","value":0.0},{"band":null,"band_minimum":100,"band_reason":"lymphoid","corrected":null,"covers":"sampling error only; not the classifier''s errors","denominator":4,"further_cells":[],"high":0.602365,"level":0.95,"lines":[],"low":0.0,"method":"clopper-pearson","name":"lymphoid_blasts","none_seen":{"further_cells":[{"cells":55,"fields":14,"threshold":0.05},{"cells":295,"fields":74,"threshold":0.01}],"level":0.95,"upper":0.527129},"numerator":0,"of":"leukocytes","value":0.0}],"unidentified":0},"patient_id":"A-101","provenance":{"leukoscope":"0.1.0","models":{"classifier":{"name":"drawn-classifier","onnx_sha256":"fe1991a9d8b6abd7ff7c58d5e22b4538a75dadae9f33dcca784e7a87c2d0f6ae"},"locator":{"name":"drawn-locator","onnx_sha256":"64b36c4d06e4a51707b252b851f1d374a10c1fe5b89851922e4c79f711d42e68"}},"taxonomy":{"artefacts":["artefact"],"blasts":["lymphoblast","apl_promyelocyte"],"composites":{},"counted":["band_neutrophil","segmented_neutrophil","eosinophil","basophil","lymphocyte","monocyte","promyelocyte","myelocyte","metamyelocyte","erythroblast","lymphoblast","apl_promyelocyte"],"name":"blood-13-drawn","names":["band_neutrophil","segmented_neutrophil","eosinophil","basophil","lymphocyte","monocyte","promyelocyte","myelocyte","metamyelocyte","erythroblast","lymphoblast","apl_promyelocyte","artefact"]},"use":"Research use only. Not for diagnosis. A morphologist must review."},"readings":[{"active_ms":0,"kind":"first","reader":"Anna","state":"done"},{"active_ms":0,"kind":"second","reader":"Ben","state":"done"},{"active_ms":0,"kind":"adjudication","reader":"Anna","state":"open"}],"record_sha256":"07e43c3b83686ec5637eebd9af26f12a987a07ef21cfe9163663d120ec85f17b","signed":{"at":1795713187519,"by":"Anna"},"signed_version":1,"smear_ids":["S1"],"specimen":"blood","version":1}','b31fcbdbcf5a21da87c16cbad20b1c551c92d93af1eb4a532917285e490ca902');
CREATE TABLE step (
	reading_id INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	done BOOLEAN NOT NULL, 
	PRIMARY KEY (reading_id, seq), 
	FOREIGN KEY(reading_id) REFERENCES reading (id)
);
INSERT INTO "step" VALUES(1,2,1);
INSERT INTO "step" VALUES(1,3,0);
INSERT INTO "step" VALUES(2,2,1);
INSERT INTO "step" VALUES(3,2,1);
CREATE TABLE touched (
	cell_id INTEGER NOT NULL, 
	event_id INTEGER NOT NULL, 
	PRIMARY KEY (cell_id, event_id), 
	FOREIGN KEY(cell_id) REFERENCES cell (id), 
	FOREIGN KEY(event_id) REFERENCES event (id)
);
INSERT INTO "touched" VALUES(1,2);
INSERT INTO "touched" VALUES(2,2);
INSERT INTO "touched" VALUES(9,3);
INSERT INTO "touched" VALUES(9,4);
INSERT INTO "touched" VALUES(1,7);
INSERT INTO "touched" VALUES(1,11);
INSERT INTO "touched" VALUES(2,11);
CREATE INDEX attempt_of ON attempt (who, at);
CREATE INDEX ix_patient_label ON patient (label);
CREATE INDEX ix_patient_run_id ON patient (run_id);
CREATE INDEX patient_by_change ON patient (changed_at);
CREATE INDEX patient_by_state ON patient (state, urgency, share, id);
CREATE INDEX patient_by_urgency ON patient (urgency, share, id);
CREATE INDEX field_of_patient ON field (patient_id, number);
CREATE INDEX ix_field_sha256 ON field (sha256);
CREATE INDEX ix_reading_patient_id ON reading (patient_id);
CREATE INDEX cell_of_patient ON cell (patient_id, id);
CREATE INDEX ix_signed_patient_id ON signed (patient_id);
CREATE INDEX ix_access_patient_id ON access (patient_id);
CREATE INDEX ix_sent_signed_id ON sent (signed_id);
COMMIT;
