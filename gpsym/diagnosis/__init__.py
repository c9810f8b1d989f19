"""A network layer by layer: what was measured in it, beside what theory says of random networks of its design.

Bands hold for one input at one position.  Inputs of a batch and positions of a convolution share the weights: averages
over them have the same mean and at most that spread, as if all were alike.  So a convolution counts as a layer of as
many units as it has channels.

    variance     mean square of the pre-activations, by the Markov chain of the variance from the first layer on: exact.
    gain         mean square of W x over sigma_w2 mean(x^2), x the measured input of the layer (first layer: over what
                 its rule makes of it): chi^2_n / n, exact.  It is off where the weights are, and nowhere else.
    zeros        share behind the activation: binomial, with s(q) at the measured variance.
    gradient     norm of the gradient by the pre-activations, from the one in the last hidden layer: log-normal, with
                 moments good to second order in 1 / n.
    correlation  mean over pairs of inputs, by the correlation map at q_star; 1 - rho log-normal, to leading order in
                 1 / n.  With several positions, whose correlations differ, it has no band.
"""

from gpsym.diagnosis.report import QUANTITIES, Diagnosis, Layer, Measured, Reading

__all__ = ["QUANTITIES", "Diagnosis", "Layer", "Measured", "Reading"]
