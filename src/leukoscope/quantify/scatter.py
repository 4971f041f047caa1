"""How much a classifier's error rates differ from patient to patient, learnt from validation cells by patient.

Patient i's rate is expit(mean + offset_i + sd * z_i), z_i standard normal; h_i of n_i validation cells are binomial.
The offset is what the patient's own mix of classes explains. The posterior of `sd` is computed on a grid, with the mean
integrated out. A rate measured in many patients is then known for the *average* patient; for a new patient the scatter
is added (a predictive distribution), and the average itself is known from so many patients, not from so many cells.

Where validation says nothing of patients the scatter is not taken for none: it is DEFAULT_SD.
"""

import functools
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from leukoscope.errors import DataError
from leukoscope.quantify.beta import beta_quantiles, even_shares, lattice_orders
from leukoscope.quantify.centre import rate_mixture
from leukoscope.quantify.groups import NUMERATOR, OTHER, UNCOUNTED, Tally

# Standard deviation of the logit of a rate between patients. Where nothing is known: an analyser's called blasts
# scattered over 409 patients with 9 times the binomial variance in normals and 25 times in AML, at 400 cells; of a
# share of 1 and of 40 % that is a standard deviation of 1.2 and 0.5 on the logit scale, true differences included.
DEFAULT_SD = 0.6
DEFAULT_PATIENTS = 10.0  # that its cells are taken to come from
PRIOR_SD = 1.0  # scale of the half-Cauchy prior of the standard deviation: 0 is likeliest, 1 not excluded
MEAN_SHIFT = 0.346  # (16 sqrt(3) / (15 pi))^2: logit of the mean rate = mean logit / sqrt(1 + 0.346 sd^2), closely

N_SDS = 8  # quantiles of the posterior that stand for it
_SDS = np.concatenate([[0.0], np.geomspace(0.05, 2.5, 19)])
_MEANS = np.linspace(-4.5, 4.5, 25)
_NODES = np.linspace(-4.0, 4.0, 33)
N_EACH = 509  # a prime: draws of a rate for each standard deviation
GENERATOR = 1783  # of the lattice of draws (draws.py)


@dataclass(frozen=True, slots=True)
class Spread:
    """The scatter of one rate between patients.

    sds         equally likely standard deviations on the logit scale; () for none at all
    n_patients  effective number of patients that the rate was measured in: as many of equal size; inf where each
                cell stands for itself
    """

    sds: tuple[float, ...] = ()
    n_patients: float = float("inf")


NO_SPREAD = Spread()


@dataclass(frozen=True, slots=True)
class Scatter:
    """Spreads of the three true groups' rates: `lost` (called uncounted) and `called` (called the numerator).

    n_patients  validation patients whose cells told it; 0: DEFAULT_SD was taken
    """

    lost: tuple[Spread, Spread, Spread]
    called: tuple[Spread, Spread, Spread]
    n_patients: int

    @property
    def typical_sd(self) -> float:
        """Median standard deviation of the false alarms' logit, which rule the ratio where blasts are few."""
        sds = self.called[OTHER].sds
        return float(np.median(sds)) if sds else 0.0


def no_scatter() -> Scatter:
    """Every patient has the validation's error rates, every cell stands for itself: what nobody should assume."""
    return Scatter((NO_SPREAD,) * 3, (NO_SPREAD,) * 3, 0)


def default_scatter() -> Scatter:
    """What is assumed where validation cells are not told by patient."""
    spread = Spread((DEFAULT_SD,), DEFAULT_PATIENTS)
    return Scatter((spread,) * 3, (spread,) * 3, 0)


def scatter_of(by_patient: np.ndarray, groups: np.ndarray) -> Scatter:
    """From validation cells by patient (P, C, C), truth x called, and the group of each class (C,)."""
    by_patient = np.asarray(by_patient)
    if by_patient.ndim != 3 or by_patient.shape[1:] != (len(groups), len(groups)) or (by_patient < 0).any():
        raise DataError(f"cells by patient need tables (P, {len(groups)}, {len(groups)}), got {by_patient.shape}")
    return _scatter_of(np.ascontiguousarray(by_patient, np.int64).tobytes(), by_patient.shape, tuple(groups.tolist()))


@functools.lru_cache(maxsize=64)  # every patient of a run asks for the same
def _scatter_of(data: bytes, shape: tuple[int, int, int], groups: tuple[int, ...]) -> Scatter:
    by_patient, of_class = np.frombuffer(data, np.int64).reshape(shape), np.array(groups)
    tables = by_patient @ np.eye(3)[of_class]  # (P, C, 3)
    lost, called = [], []
    for group in range(3):
        of_group = tables[:, of_class == group]  # (P, K, 3)
        lost.append(_spread(of_group[:, :, UNCOUNTED], of_group.sum(2)) if UNCOUNTED in groups else NO_SPREAD)
        called.append(_spread(of_group[:, :, NUMERATOR], of_group[:, :, NUMERATOR] + of_group[:, :, OTHER]))
    n_patients = int((by_patient.sum((1, 2)) > 0).sum())
    return Scatter((lost[0], lost[1], lost[2]), (called[0], called[1], called[2]), n_patients)


def _spread(hits: np.ndarray, cells: np.ndarray) -> Spread:
    """From hits and cells by patient and class (P, K)."""
    known = cells.sum(1) > 0
    hits, cells = hits[known], cells[known]
    if len(cells) < 2:  # one patient doesn't show how patients differ
        return Spread((DEFAULT_SD,), 1.0)
    totals = cells.sum(1)
    n_patients = float(totals.sum() ** 2 / (totals**2).sum())
    # What a patient's own mix of classes explains is no scatter: the rate is standardised for it anyway.
    of_class = (hits.sum(0) + 0.5) / (cells.sum(0) + 1)
    expected = _logit((cells * of_class).sum(1) / totals)
    pooled = float(_logit((hits.sum() + 0.5) / (totals.sum() + 1)))
    offsets = expected - _logit((cells.sum(0) * of_class).sum() / totals.sum())
    return Spread(sd_quantiles(hits.sum(1), totals, offsets, pooled), n_patients)


def sd_quantiles(hits: np.ndarray, cells: np.ndarray, offsets: np.ndarray, pooled: float) -> tuple[float, ...]:
    """N_SDS equally likely standard deviations of the logit between patients (P,), by their posterior.

    pooled  logit of the rate of all patients together, where the grid of means is centred
    """
    n, n_squared = cells.sum(), (cells**2).sum()
    # Patients of the same numbers have the same likelihood: it is computed once.
    rows, times = np.unique(np.stack([hits, cells, offsets.round(2)]), axis=1, return_counts=True)
    hits, cells, offsets = rows
    rate = 1 / (1 + np.exp(-pooled))
    sampling = 1 / (n * rate * (1 - rate) + 0.5)
    log_posterior = np.empty(len(_SDS))
    for k, sd in enumerate(_SDS):
        width = np.sqrt(sampling + sd**2 * n_squared / n**2)
        means = pooled * np.sqrt(1 + MEAN_SHIFT * sd**2) + width * _MEANS  # (M,)
        nodes = _NODES if sd else np.zeros(1)
        theta = means[:, None, None] + sd * nodes[None, :, None] + offsets  # (M, Z, P)
        log_l = hits * theta - cells * np.logaddexp(0, theta)
        top = log_l.max((0, 1))
        weights = np.exp(-(nodes**2) / 2)
        each = np.einsum("z,mzp->mp", weights / weights.sum(), np.exp(log_l - top))
        # Jeffreys's prior of a rate, on the logit scale.
        log_prior = 0.5 * means - np.logaddexp(0, means)
        log_m = np.log(np.maximum(each, 1e-300)) @ times + log_prior
        log_posterior[k] = top @ times + log_m.max() + np.log(np.exp(log_m - log_m.max()).sum() * width)
    log_posterior -= np.log1p((_SDS / PRIOR_SD) ** 2)
    density = np.exp(log_posterior - log_posterior.max())
    steps = (density[1:] + density[:-1]) / 2 * np.diff(_SDS)
    cumulated = np.concatenate([[0.0], np.cumsum(steps)])
    return tuple(np.interp(even_shares(N_SDS), cumulated / cumulated[-1], _SDS).tolist())


def predictive_quantiles(n: int, validation: Tally, local: Tally, spread: Spread) -> np.ndarray:
    """(n,) quantiles at `even_shares(n)` of a new patient's error rate; n a prime.

    Without spread: of the average patient's, Jeffreys' beta or the mixture with the centre's cells (centre.py).
    """
    if not spread.sds:
        return beta_quantiles(even_shares(n), *rate_mixture(validation, local))
    n_each = N_EACH if len(spread.sds) > 1 else n
    draws, order = [], lattice_orders(n_each, GENERATOR, 2)[1]
    for sd in spread.sds:
        tally = _by_patient(validation, sd, spread.n_patients)
        base = beta_quantiles(even_shares(n_each), *rate_mixture(tally, local))
        mean = _logit(np.clip(base, 1e-12, 1 - 1e-12)) * np.sqrt(1 + MEAN_SHIFT * sd**2)
        draws.append(mean + sd * _normal_quantiles(n_each)[order])
    logits = np.sort(np.concatenate(draws))
    return 1 / (1 + np.exp(-np.interp(even_shares(n), even_shares(len(logits)), logits)))


def _by_patient(tally: Tally, sd: float, n_patients: float) -> Tally:
    """The tally as of so many independent cells as know the average patient's rate as well."""
    if tally.cells <= 0 or not np.isfinite(n_patients):
        return tally
    rate = (tally.hits + 0.5) / (tally.cells + 1)
    share = 1 / (1 + tally.cells * rate * (1 - rate) * sd**2 / n_patients)
    return Tally(tally.hits * share, tally.cells * share)


@functools.cache
def _normal_quantiles(n: int) -> np.ndarray:
    return np.array([NormalDist().inv_cdf(share) for share in even_shares(n)])


def _logit(rate: np.ndarray) -> np.ndarray:
    return np.log(rate) - np.log1p(-rate)
