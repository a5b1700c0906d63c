//! Certificates between agents, relay and clients: an authority of Fathom's own, kept in Secrets and renewed
//! by the relay that leads, so that no other software is needed for mutual TLS.
//!
//! * [`authority`]: which authorities there are at a moment, and which of them signs.
//! * [`leaf`]: what each program shows, and when that is made anew.
//! * [`keep`]: the Secrets, read and written.
//!
//! Programs read the files that the kubelet makes of these Secrets, each at a time of its own. So a new
//! authority is trusted everywhere for [`Lives::overlap`] before it signs, and an old one is trusted for as long
//! after its last certificate was replaced.

pub mod authority;
mod certificate;
pub mod keep;
pub mod leaf;
#[cfg(test)]
mod tests;

use std::time::Duration;

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    pub authority: Duration,
    pub certificate: Duration,
    /// Longest time from a change of a Secret until every program has read it.
    pub overlap: Duration,
}

impl Default for Lives {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        Lives {
            authority: Duration::from_secs(365 * 24 * HOUR),
            certificate: Duration::from_secs(7 * 24 * HOUR),
            overlap: Duration::from_secs(HOUR),
        }
    }
}

impl Lives {
    /// # Errors
    /// Lives in which a rotation would not come to its end.
    pub fn check(&self) -> Result<(), String> {
        if self.overlap * 6 > self.certificate {
            return Err(format!(
                "certificates must live at least 6 times as long as the overlap: {:?} is too short for {:?}",
                self.certificate, self.overlap
            ));
        }
        if self.certificate * 3 > self.authority {
            return Err(format!(
                "an authority must live at least 3 times as long as its certificates: {:?} is too short for {:?}",
                self.authority, self.certificate
            ));
        }
        Ok(())
    }
}

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("read a certificate: {0}")]
    Read(String),
}
