# Deming's line with jackknife limits, Rumke's limits for two counts, and what two perfect readers agree in, in base R:
# another way to each number than the package's. Rscript tests/data/agreement.R > tests/data/agreement_r.csv
# Deming by minimising the weighted squared distances, limits of two counts by phyper, agreement by dbinom.
x <- c(7, 8.3, 10.5, 9, 5.1, 8.2, 10.2, 10.3, 7.1, 5.9, 14.2, 3.3)
y <- c(7.9, 8.2, 9.6, 9, 6.5, 7.3, 10.2, 10.6, 6.3, 5.2, 15.1, 2.9)
line <- function(x, y, ratio) {
  cost <- function(b) { r <- y - mean(y) - b * (x - mean(x)); sum(r^2) / (ratio + b^2) }
  b <- optimize(cost, c(0, 10), tol = 1e-14)$minimum
  c(b, mean(y) - b * mean(x))
}
say <- function(...) cat(paste(..., sep = ","), "\n", sep = "")
say("what", "a", "b", "c", "d", "value")
for (ratio in c(1, 0.5, 4)) {
  n <- length(x); whole <- line(x, y, ratio)
  left <- t(sapply(1:n, function(i) line(x[-i], y[-i], ratio)))
  for (k in 1:2) {
    pseudo <- n * whole[k] - (n - 1) * left[, k]
    half <- qt(0.975, n - 2) * sd(pseudo) / sqrt(n)
    name <- c("slope", "intercept")[k]
    say(paste0("deming ", name), ratio, "", "", "", sprintf("%.9f", whole[k]))
    say(paste0("deming ", name, " low"), ratio, "", "", "", sprintf("%.9f", whole[k] - half))
    say(paste0("deming ", name, " high"), ratio, "", "", "", sprintf("%.9f", whole[k] + half))
  }
}
# The orthogonal line is the first principal axis.
axis <- prcomp(cbind(x, y))$rotation[, 1]
say("principal axis slope", 1, "", "", "", sprintf("%.9f", axis[2] / axis[1]))
for (counts in list(c(100, 100), c(200, 100), c(400, 500), c(37, 211))) {
  for (k in unique(round(counts[1] * c(0, 0.01, 0.05, 0.2, 0.5, 0.97, 1)))) {
    ok <- sapply(0:counts[2], function(m) {
      total <- k + m
      low <- phyper(k, total, sum(counts) - total, counts[1])
      high <- phyper(k - 1, total, sum(counts) - total, counts[1], lower.tail = FALSE)
      min(low, high) > 0.025
    })
    say("second count least", k, counts[1], counts[2], "", min(which(ok)) - 1)
    say("second count most", k, counts[1], counts[2], "", max(which(ok)) - 1)
  }
}
# One patient of share p, abnormal from `from` cells on: both readers agree with this probability.
for (case in list(c(0.02, 100, 200, 0.01), c(0.05, 200, 200, 0.05), c(0.3, 100, 400, 0.28))) {
  p <- case[1]; a <- 1 - pbinom(ceiling(case[4] * case[2] - 1e-9) - 1, case[2], p)
  b <- 1 - pbinom(ceiling(case[4] * case[3] - 1e-9) - 1, case[3], p)
  say("chance agreement", p, case[2], case[3], case[4], sprintf("%.9f", a * b + (1 - a) * (1 - b)))
}
# Exact limits of an agreement.
for (case in list(c(18, 20), c(0, 7), c(31, 31))) {
  ci <- binom.test(case[1], case[2])$conf.int
  say("exact low", case[1], case[2], "", "", sprintf("%.9f", ci[1]))
  say("exact high", case[1], case[2], "", "", sprintf("%.9f", ci[2]))
}
