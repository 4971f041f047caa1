"""What each public source's codes mean in our vocabulary: (code, our class, the source's own wording).

Rows quote the source so that a reader can check them; a code that is not in its table is an error, never a guess.
"""

from __future__ import annotations

Rows = tuple[tuple[str, str, str], ...]

# Acevedo et al. 2020, Data in Brief 30, 105474: prefixes of the file names. The YOLO copy calls its class 3
# immunoglobulin; the pictures and the paper say immature granulocytes.
PBC: Rows = (
    ("BA", "basophil", "basophils"),
    ("EO", "eosinophil", "eosinophils"),
    ("ERB", "erythroblast", "erythroblasts"),
    ("LY", "lymphocyte", "lymphocytes"),
    ("MO", "monocyte", "monocytes"),
    ("BNE", "band_neutrophil", "neutrophils: band"),
    ("SNE", "segmented_neutrophil", "neutrophils: segmented"),
    ("NEUTROPHIL", "neutrophil", "neutrophils (stage not stated)"),
    ("PMY", "promyelocyte", "immature granulocytes: promyelocytes"),
    ("MY", "myelocyte", "immature granulocytes: myelocytes"),
    ("MMY", "metamyelocyte", "immature granulocytes: metamyelocytes"),
    ("IG", "immature_granulocyte", "immature granulocytes (stage not stated)"),
    ("PLATELET", "platelet", "platelets"),
    ("NEU", "neutrophil", "neutrophils (class of the YOLO copy)"),
)

# BCCD: object names of the VOC files, then the categories of its table of types, one type a picture.
BCCD: Rows = (
    ("WBC", "white_cell", "WBC"),
    ("RBC", "red_cell", "RBC"),
    ("Platelets", "platelet", "Platelets"),
    ("NEUTROPHIL", "neutrophil", "NEUTROPHIL"),
    ("EOSINOPHIL", "eosinophil", "EOSINOPHIL"),
    ("BASOPHIL", "basophil", "BASOPHIL"),
    ("LYMPHOCYTE", "lymphocyte", "LYMPHOCYTE"),
    ("MONOCYTE", "monocyte", "MONOCYTE"),
)

# C-NMC 2019 (Mourya et al.): class folders. The healthy cells are precursors of healthy donors, not blood lymphocytes.
CNMC: Rows = (
    ("all", "lymphoblast", "ALL: malignant B-lymphoblasts"),
    ("hem", "lymphoid_precursor", "HEM: normal B-lymphoid precursors"),
)

# Zheng et al. 2018 (segmentation_WBC): one code for Dataset 1 (JTSC) and Dataset 2 (CellaVision).
FIVE_TYPES: Rows = (
    ("1", "neutrophil", "neutrophil"),
    ("2", "lymphocyte", "lymphocyte"),
    ("3", "monocyte", "monocyte"),
    ("4", "eosinophil", "eosinophil"),
    ("5", "basophil", "basophil"),
)

DRAASLAN: Rows = (
    ("wbc", "white_cell", "wbc"),
    ("rbc", "red_cell", "rbc"),
)

# ALL-IDB (Labati, Piuri, Scotti 2011): ImNNN_Y, Y = 1 for a patient with ALL. ALL-IDB1 are fields: its .xyc files
# mark blasts. ALL-IDB2 are single cells: the healthy ones are white cells of unstated type.
ALL_IDB1: Rows = (
    ("1", "lymphoblast", "ALL; .xyc: centroids of the blast cells"),
    ("0", "white_cell", "healthy"),
)
ALL_IDB2: Rows = (
    ("1", "lymphoblast", "blast cell"),
    ("0", "white_cell", "healthy cell"),
)

# Matek et al. 2019 (Munich, AML-Cytomorphology_LMU). MYB is the myelocyte, MYO the myeloblast.
MUNICH: Rows = (
    ("BAS", "basophil", "Basophil"),
    ("EBO", "erythroblast", "Erythroblast"),
    ("EOS", "eosinophil", "Eosinophil"),
    ("KSC", "smudge_cell", "Smudge cell"),
    ("LYA", "atypical_lymphocyte", "Lymphocyte (atypical)"),
    ("LYT", "lymphocyte", "Lymphocyte (typical)"),
    ("MMZ", "metamyelocyte", "Metamyelocyte"),
    ("MOB", "monoblast", "Monoblast"),
    ("MON", "monocyte", "Monocyte"),
    ("MYB", "myelocyte", "Myelocyte"),
    ("MYO", "myeloblast", "Myeloblast"),
    ("NGB", "band_neutrophil", "Neutrophil (band)"),
    ("NGS", "segmented_neutrophil", "Neutrophil (segmented)"),
    ("PMB", "bilobed_promyelocyte", "Promyelocyte (bilobed)"),
    ("PMO", "promyelocyte", "Promyelocyte"),
)

# Matek et al. 2021 (MLL / Helmholtz, 171,373 marrow cells). BLA is the blast, MYB again the myelocyte.
MARROW_21: Rows = (
    ("ABE", "abnormal_eosinophil", "Abnormal eosinophil"),
    ("ART", "artefact", "Artefact"),
    ("BAS", "basophil", "Basophil"),
    ("BLA", "blast", "Blast"),
    ("EBO", "erythroblast", "Erythroblast"),
    ("EOS", "eosinophil", "Eosinophil"),
    ("FGC", "faggot_cell", "Faggot cell"),
    ("HAC", "hairy_cell", "Hairy cell"),
    ("KSC", "smudge_cell", "Smudge cell"),
    ("LYI", "immature_lymphocyte", "Immature lymphocyte"),
    ("LYT", "lymphocyte", "Lymphocyte"),
    ("MMZ", "metamyelocyte", "Metamyelocyte"),
    ("MON", "monocyte", "Monocyte"),
    ("MYB", "myelocyte", "Myelocyte"),
    ("NGB", "band_neutrophil", "Band neutrophil"),
    ("NGS", "segmented_neutrophil", "Segmented neutrophil"),
    ("NIF", "not_identifiable", "Not identifiable"),
    ("OTH", "other", "Other cell"),
    ("PEB", "proerythroblast", "Proerythroblast"),
    ("PLM", "plasma_cell", "Plasma cell"),
    ("PMO", "promyelocyte", "Promyelocyte"),
)

# Chinese marrow reporting, as the public analysis code of a six-centre AML study writes it (its table of cell names,
# quoted); the marrow paper's eight CBLC codes are N, N1, M, M1, R, R1, J, J1. See docs/decisions/0002-marrow-codes.md.
MARROW_CBLC: Rows = (
    ("N0", "normal_myeloblast", "正常原始粒细胞"),
    ("N", "myeloblast", "原始粒细胞(Ⅰ/Ⅱ)"),
    ("N1", "promyelocyte", "早幼粒细胞"),
    ("N2", "myelocyte", "中性中幼粒细胞"),
    ("N3", "metamyelocyte", "中性晚幼粒细胞"),
    ("N4", "band_neutrophil", "中性杆状核粒细胞"),
    ("N5", "segmented_neutrophil", "中性分叶核粒细胞"),
    ("E", "eosinophil", "嗜酸性粒细胞"),
    ("E1", "eosinophil", "组织嗜酸细胞"),
    ("B", "basophil", "嗜碱性粒细胞"),
    ("B1", "mast_cell", "组织嗜碱细胞"),
    ("M0", "normal_monoblast", "正常原始单核细胞"),
    ("M", "monoblast", "原始单核细胞"),
    ("M1", "promonocyte", "幼稚单核细胞"),
    ("M2", "monocyte", "成熟单核细胞"),
    ("R", "proerythroblast", "原始红细胞"),
    ("R1", "early_erythroblast", "早幼红细胞"),
    ("R2", "intermediate_erythroblast", "中幼红细胞"),
    ("R3", "late_erythroblast", "晚幼红细胞"),
    ("J", "megakaryoblast", "原始巨核细胞"),
    ("J1", "promegakaryocyte", "幼稚巨核细胞"),
    ("J2", "megakaryocyte", "颗粒巨核细胞"),
    ("J3", "megakaryocyte", "产血小板巨核细胞"),
    ("J4", "naked_nucleus", "裸核细胞"),
    ("L", "lymphoblast", "原始淋巴细胞"),
    ("L1", "prolymphocyte", "幼稚淋巴细胞"),
    ("L2", "lymphocyte", "成熟淋巴细胞"),
    ("L3", "lymphoid_precursor", "B祖淋巴细胞"),
    ("L4", "atypical_lymphocyte", "异形淋巴细胞"),
    ("P", "plasmablast", "原始浆细胞"),
    ("P1", "proplasmacyte", "幼稚浆细胞"),
    ("P2", "plasma_cell", "浆细胞"),
    ("P3", "abnormal_plasma_cell", "异常浆细胞"),
    ("A", "phagocyte", "吞噬细胞"),
    ("F", "fat_cell", "脂肪细胞"),
    ("V", "not_identifiable", "分类不明细胞"),
    ("0", "not_identifiable", "0 (merged into V)"),
)

# Kouzehkanan et al. 2022 (Raabin-WBC), double-labelled cells: class folders.
RAABIN: Rows = (
    ("Basophil", "basophil", "Basophil"),
    ("Eosinophil", "eosinophil", "Eosinophil"),
    ("Lymphocyte", "lymphocyte", "Lymphocyte"),
    ("Monocyte", "monocyte", "Monocyte"),
    ("Neutrophil", "neutrophil", "Neutrophil"),
)

# PCM-Leukemia, section 2.2: eight types and Other (artefacts, smudges, cells more than half cut off).
PCM: Rows = (
    ("Lymphocyte", "lymphocyte", "Lymphocyte"),
    ("Neutrophil", "neutrophil", "Neutrophil"),
    ("Basophil", "basophil", "Basophil"),
    ("Eosinophil", "eosinophil", "Eosinophil"),
    ("Lymphoblast", "lymphoblast", "Lymphoblast"),
    ("Monocyte", "monocyte", "Monocyte"),
    ("Myeloblast_AML", "myeloblast", "Myeloblast_AML"),
    ("Myeloblast_APL", "apl_promyelocyte", "Myeloblast_APL"),
    ("Other", "other", "Other"),
)

# PCM-Leukemia's binary boxes: "WBC" vs. "Other".
PCM_WBC: Rows = (
    ("WBC", "white_cell", "WBC"),
    ("Other", "other", "Other"),
)

# Rehman et al. 2024 (LeukemiaAttri): the class list of its data file, "14 types including artifacts". None is the
# class of what is no cell; the JSON files write it in lower case.
LEUKEMIA_ATTRI: Rows = (
    ("None", "artefact", "None"),
    ("none", "artefact", "none"),
    ("Myeloblast", "myeloblast", "Myeloblast"),
    ("Lymphoblast", "lymphoblast", "Lymphoblast"),
    ("Neutrophil", "neutrophil", "Neutrophil"),
    ("Atypical lymphocyte", "atypical_lymphocyte", "Atypical lymphocyte"),
    ("Promonocyte", "promonocyte", "Promonocyte"),
    ("Monoblast", "monoblast", "Monoblast"),
    ("Lymphocyte", "lymphocyte", "Lymphocyte"),
    ("Myelocyte", "myelocyte", "Myelocyte"),
    ("Abnormal promyelocyte", "apl_promyelocyte", "Abnormal promyelocyte"),
    ("Monocyte", "monocyte", "Monocyte"),
    ("Metamyelocyte", "metamyelocyte", "Metamyelocyte"),
    ("Eosinophil", "eosinophil", "Eosinophil"),
    ("Basophil", "basophil", "Basophil"),
)
