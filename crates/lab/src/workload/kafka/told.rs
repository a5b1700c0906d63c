//! What the broker's log tells of a request:
//!
//! `10.0.0.1:40000 Produce v9 client=app correlation=4 topics=orders,id:AAAA errors=0,3`
//!
//! Topics as the request names them. Errors in the order of the response's bytes: the first error code, then
//! every other one that is no 0; none where there is nothing that could fail. ` unanswered` at the end when no
//! answer is wanted, ` unsent` when the client had gone.

use kafka_protocol::messages::TopicName;
use uuid::Uuid;

#[derive(Debug, Default)]
pub struct Told {
    pub topics: Vec<String>,
    errors: Vec<i16>,
}

impl Told {
    /// Topics by name, or by id where they have none.
    pub fn of<'a>(topics: impl IntoIterator<Item = (Option<&'a TopicName>, Uuid)>) -> Self {
        let named = |(name, id): (Option<&TopicName>, Uuid)| match name {
            Some(name) if !name.is_empty() => name.to_string(),
            _ if id.is_nil() => String::new(),
            _ => topic_id(id),
        };
        Self { topics: topics.into_iter().map(named).collect(), errors: Vec::new() }
    }

    /// Of a request without topics.
    pub fn error(code: i16) -> Self {
        Self { topics: Vec::new(), errors: vec![code] }
    }

    /// Takes down a code where it is written into the response.
    pub fn note(&mut self, code: i16) -> i16 {
        if self.errors.is_empty() || code != 0 {
            self.errors.push(code);
        }
        code
    }

    pub fn failed(&self) -> bool {
        self.errors.iter().any(|code| *code != 0)
    }

    pub fn errors(&self) -> String {
        self.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

/// As Kafka's tools print it: base64url without padding. Names hold no colon.
fn topic_id(id: Uuid) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = id.as_u128();
    let digit = |shift: i32| if shift >= 0 { bits >> shift } else { bits << -shift };
    let digits = (0..22).map(|n| char::from(DIGITS[(digit(122 - 6 * n) & 63) as usize]));
    format!("id:{}", digits.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_s_id_is_base64url() {
        assert_eq!(topic_id(Uuid::nil()), "id:AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(topic_id(Uuid::max()), "id:_____________________w");
        let bytes = *b"\xff\xef\xfe\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d";
        assert_eq!(topic_id(Uuid::from_bytes(bytes)), "id:_-_-AQIDBAUGBwgJCgsMDQ");
    }

    #[test]
    fn the_first_code_is_told_and_all_that_are_errors() {
        let mut told = Told::default();
        assert_eq!((told.errors().as_str(), told.failed()), ("", false));
        for code in [0, 0, 3, 0, 10] {
            told.note(code);
        }
        assert_eq!((told.errors().as_str(), told.failed()), ("0,3,10", true));
    }
}
