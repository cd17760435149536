//! How long a question and its answer take on a way (RFC 6298).

use crate::time::Duration;

/// The least and the most that is waited for an answer.
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(1);

/// The round trip on one way: smoothed, and how much it varies.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip(Option<(Duration, Duration)>);

impl RoundTrip {
    /// Takes a measurement, of a question that was sent once (Karn's rule).
    pub fn sample(&mut self, took: Duration) {
        self.0 = Some(match self.0 {
            None => (took, took / 2),
            Some((smooth, varies)) => {
                let off = smooth.abs_diff(took);
                (smooth * 7 / 8 + took / 8, varies * 3 / 4 + off / 4)
            }
        });
    }

    /// The smoothed round trip.
    pub fn get(&self) -> Option<Duration> {
        self.0.map(|(smooth, _)| smooth)
    }

    /// How long an answer may take before the question counts as lost.
    pub fn patience(&self) -> Duration {
        let fits = |(smooth, varies): (Duration, Duration)| smooth * 2 + varies * 4;
        // RFC 6298 section 2.1: a second while nothing is known.
        self.0.map_or(MOST, fits).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_slowly_and_waits_within_bounds() {
        let ms = Duration::from_millis;
        let mut trip = RoundTrip::default();
        assert_eq!((trip.get(), trip.patience()), (None, MOST));
        trip.sample(ms(80));
        assert_eq!((trip.get(), trip.patience()), (Some(ms(80)), ms(320)));
        trip.sample(ms(160));
        assert_eq!(trip.get(), Some(ms(90)));
        (0..50).for_each(|_| trip.sample(ms(1)));
        assert_eq!(trip.patience(), LEAST);
        (0..50).for_each(|_| trip.sample(ms(5000)));
        assert_eq!(trip.patience(), MOST);
    }
}
