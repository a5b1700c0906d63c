//! Years of rotations in a moment: whoever is late in reading what changed still understands everybody else.

use std::collections::VecDeque;
use std::time::Duration;

use super::Lives;
use super::authority::Authorities;
use super::certificate::Certificate;
use super::leaf::{Shown, leaves};

const BEGIN: i64 = 2_000_000_000;

/// Whether `shown` is signed by one of `bundle`, and both count now.
fn accepted(shown: &Certificate, bundle: &[Certificate], now: i64) -> bool {
    let valid = |one: &Certificate| now < one.expires;
    valid(shown) && bundle.iter().any(|one| one.subject == shown.issuer && valid(one))
}

#[test]
fn nobody_is_refused_while_authorities_and_certificates_come_and_go() {
    let lives = Lives {
        authority: Duration::from_secs(45 * 24 * 3600),
        certificate: Duration::from_secs(7 * 24 * 3600),
        overlap: Duration::from_secs(3600),
    };
    let step = 1800;
    let late = usize::try_from(3600 / step).unwrap();
    let leaf = &leaves("kube-system", "default")[0];
    let mut authorities = Authorities::default();
    let mut shown = Shown::default();
    // What programs have read, the newest in front: each may have any of them.
    let mut read: VecDeque<(Certificate, Vec<Certificate>)> = VecDeque::new();
    let (mut signers, mut certificates) = (Vec::new(), 0);
    for tick in 0..(200 * 24 * 3600 / step) {
        let now = BEGIN + tick * step;
        authorities.step(now, &lives).unwrap();
        let next = leaf.step(&shown, &authorities, now, &lives).unwrap();
        certificates += usize::from(next.certificate != shown.certificate);
        if next != shown || read.is_empty() {
            let parsed =
                (Certificate::read(&next.certificate).unwrap(), Certificate::read_all(&next.bundle).unwrap());
            signers.push(parsed.0.issuer.clone());
            shown = next;
            read.push_front(parsed);
        } else {
            let same = read[0].clone();
            read.push_front(same);
        }
        read.truncate(late);
        for (certificate, _) in &read {
            for (_, bundle) in &read {
                assert!(accepted(certificate, bundle, now), "day {}", tick * step / 86_400);
            }
        }
        assert!(authorities.trusted.len() <= 2);
    }
    signers.dedup();
    assert!(signers.len() >= 6, "{} authorities signed in 200 days of lives of 45", signers.len());
    assert!(certificates >= 40, "{certificates} certificates in 200 days of lives of 7");
}

#[test]
fn a_relay_that_was_away_for_longer_than_everything_lasts_begins_anew() {
    let lives = Lives::default();
    let leaf = &leaves("kube-system", "default")[1];
    let mut authorities = Authorities::default();
    authorities.step(BEGIN, &lives).unwrap();
    let shown = leaf.step(&Shown::default(), &authorities, BEGIN, &lives).unwrap();
    let later = BEGIN + 800 * 24 * 3600;
    assert!(authorities.step(later, &lives).unwrap());
    assert_eq!(authorities.trusted.len(), 1);
    let new = leaf.step(&shown, &authorities, later, &lives).unwrap();
    let (certificate, bundle) =
        (Certificate::read(&new.certificate).unwrap(), Certificate::read_all(&new.bundle).unwrap());
    assert!(accepted(&certificate, &bundle, later));
    assert_eq!(leaf.step(&new, &authorities, later + 60, &lives).unwrap(), new, "nothing is due");
}

#[test]
fn a_certificate_serves_under_the_names_it_is_asked_for() {
    let lives = Lives::default();
    let mut authorities = Authorities::default();
    authorities.step(BEGIN, &lives).unwrap();
    for leaf in leaves("observability", "eu.west") {
        let shown = leaf.step(&Shown::default(), &authorities, BEGIN, &lives).unwrap();
        let certificate = Certificate::read(&shown.certificate).unwrap();
        assert_eq!(certificate.names, leaf.names);
        assert_eq!(certificate.expires, BEGIN + 7 * 24 * 3600);
    }
    let agent = &leaves("observability", "eu.west")[0];
    assert!(agent.names.contains(&"*.eu-west.fathom-grpc.fathom.dev".to_owned()));
    assert!(agent.names.contains(&"fathom-agent.observability.svc".to_owned()));
}

#[test]
fn lives_that_leave_no_time_to_rotate_are_refused() {
    assert!(Lives::default().check().is_ok());
    let lives = Lives { overlap: Duration::from_secs(2 * 24 * 3600), ..Lives::default() };
    assert!(lives.check().unwrap_err().contains("overlap"));
    let lives = Lives { authority: Duration::from_secs(14 * 24 * 3600), ..Lives::default() };
    assert!(lives.check().unwrap_err().contains("authority"));
}
