"""The numbers that come from haematologists' and laboratories' practice, each with its source. No code beside them.

docs/decisions/0019-clinical-rules.md says why each is as it is.
"""

# Blasts of the myeloid line: 20 % or more is AML, 10-19 % MDS/AML (ICC) or MDS with increased blasts 2 (WHO), 5-9 % MDS
# with increased blasts. A lower edge belongs to its band. Döhner et al. (ELN), Arber et al. (ICC): Blood 2022.
BANDS = ((0.20, ">=20"), (0.10, "10-19"), (0.05, "5-9"), (0.0, "<5"))
BAND_EDGES = tuple(sorted(edge for edge, _ in BANDS if edge > 0))

# Fewest cells of a count that a band may be read from. Blood: 200 leukocytes (WHO 5th edition, ICC 2022). Marrow: 500
# nucleated cells (ICSH, Lee et al., Int. J. Lab. Hematol. 2008; WHO; ICC).
MINIMUM_CELLS = {"blood": 200, "marrow": 500}
# Whoever asks for fewer gets a band from so many on, and is told: the smallest differential that laboratories report.
LEAST_MINIMUM = 100

# What laboratories call a count of so many cells. Blood: CLSI H20-A2 (400 cells as 2 x 200 is the reference
# differential; 100 to 200 in routine). Marrow: ICSH 2008 (500 where a share decides, 300 where it doesn't).
COUNT_TIERS = {
    "blood": (
        (400, "reference differential (400 cells or more)"),
        (200, "full differential (200 to 399 cells)"),
        (100, "routine differential (100 to 199 cells)"),
        (0, "scan only (fewer than 100 cells)"),
    ),
    "marrow": (
        (500, "full marrow differential (500 cells or more)"),
        (300, "limited marrow differential (300 to 499 cells)"),
        (0, "scan only (fewer than 300 cells)"),
    ),
}

# Healthy adult blood holds no blast; marrow below 5 % (WHO 5th edition; ICC 2022).
MARROW_BLAST_SHARE = 0.05
# The white count is corrected for nucleated red cells from 5 to 10 a 100 leukocytes on (CLSI H20-A2 names 10, many
# laboratories 5).
NUCLEATED_RED_PER_100 = 5
# Acute erythroid leukaemia: 80 % or more of the marrow's cells erythroid, 30 % or more proerythroblasts (WHO 5th
# edition). Either alone calls for a look, for the myeloblast ratio of such a marrow is low.
ERYTHROID_SHARE = 0.80
PROERYTHROBLAST_SHARE = 0.30
# Ours: a composite such as CBLC holds stages that healthy marrow has too (promyelocytes, early erythroblasts: together
# below 15 %); more than 20 points above the blasts is none of them.
COMPOSITE_EXCESS = 0.20
# Ours: one found cell in five outside the differential. Leukaemic cells that a model doesn't know end there.
LEFT_OUT_SHARE = 0.20
# Ours: blasts of both lines, each 5 % or more, are not what one band or one ratio describes.
BOTH_LINES_SHARE = 0.05
