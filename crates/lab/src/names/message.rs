//! DNS messages (RFC 1035): one question, address records in the answer, nothing compressed when written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kinds of record a lab asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    A,
    Aaaa,
    /// Any other, by its number.
    Other(u16),
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Other(n) => n,
        }
    }

    fn from_number(n: u16) -> Self {
        match n {
            1 => Self::A,
            28 => Self::Aaaa,
            n => Self::Other(n),
        }
    }

    /// Whether an address is of this kind.
    pub fn fits(self, address: &IpAddr) -> bool {
        match self {
            Self::A => address.is_ipv4(),
            Self::Aaaa => address.is_ipv6(),
            Self::Other(_) => false,
        }
    }
}

/// How a question was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rcode {
    NoError,
    NxDomain,
    Refused,
    Other(u8),
}

impl Rcode {
    fn number(self) -> u8 {
        match self {
            Self::NoError => 0,
            Self::NxDomain => 3,
            Self::Refused => 5,
            Self::Other(n) => n,
        }
    }

    fn from_number(n: u8) -> Self {
        match n {
            0 => Self::NoError,
            3 => Self::NxDomain,
            5 => Self::Refused,
            n => Self::Other(n),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub id: u16,
    /// Without the final dot, in lower case.
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub question: Question,
    pub rcode: Rcode,
    pub addresses: Vec<IpAddr>,
}

const CLASS_IN: u16 = 1;
const FLAG_RESPONSE: u8 = 0x80;
const FLAG_RECURSION_DESIRED: u8 = 0x01;
const TTL_SECONDS: u32 = 5;

impl Question {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = header(self.id, FLAG_RECURSION_DESIRED, 0, 0);
        put_question(&mut out, self);
        out
    }

    /// Reads a query; `None` when it is none, or truncated.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let (id, flags, _, questions, _) = reader.header()?;
        (questions == 1 && flags & FLAG_RESPONSE == 0).then_some(())?;
        reader.question(id)
    }
}

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = header(
            self.question.id,
            FLAG_RESPONSE | FLAG_RECURSION_DESIRED,
            0x80 | self.rcode.number(),
            self.addresses.len() as u16,
        );
        put_question(&mut out, &self.question);
        for address in &self.addresses {
            // A pointer to the question's name.
            out.extend([0xc0, 12]);
            let kind = if address.is_ipv4() { Kind::A } else { Kind::Aaaa };
            out.extend(kind.number().to_be_bytes());
            out.extend(CLASS_IN.to_be_bytes());
            out.extend(TTL_SECONDS.to_be_bytes());
            match address {
                IpAddr::V4(v4) => {
                    out.extend(4u16.to_be_bytes());
                    out.extend(v4.octets());
                }
                IpAddr::V6(v6) => {
                    out.extend(16u16.to_be_bytes());
                    out.extend(v6.octets());
                }
            }
        }
        out
    }

    /// Reads a response; `None` when it is none, or truncated.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let (id, flags, rcode, questions, answers) = reader.header()?;
        (questions == 1 && flags & FLAG_RESPONSE != 0).then_some(())?;
        let question = reader.question(id)?;
        let mut addresses = Vec::new();
        for _ in 0..answers {
            reader.name()?;
            let kind = Kind::from_number(reader.u16()?);
            reader.take(6)?; // class and time to live
            let length = reader.u16()?;
            let data = reader.take(usize::from(length))?;
            match kind {
                Kind::A => addresses.push(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
                Kind::Aaaa => addresses.push(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
                Kind::Other(_) => {}
            }
        }
        Some(Self { question, rcode: Rcode::from_number(rcode), addresses })
    }
}

fn header(id: u16, flags: u8, more: u8, answers: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend(id.to_be_bytes());
    out.extend([flags, more, 0, 1]);
    out.extend(answers.to_be_bytes());
    out.extend([0; 4]);
    out
}

fn put_question(out: &mut Vec<u8>, question: &Question) {
    for label in question.name.split('.').filter(|l| !l.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        out.push(label.len() as u8);
        out.extend(label);
    }
    out.push(0);
    out.extend(question.kind.number().to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + length)?;
        self.at += length;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// Id, flags, rcode, number of questions and answers.
    fn header(&mut self) -> Option<(u16, u8, u8, u16, u16)> {
        let id = self.u16()?;
        let flags = self.take(2)?;
        let (questions, answers) = (self.u16()?, self.u16()?);
        self.take(4)?;
        Some((id, flags[0], flags[1] & 0x0f, questions, answers))
    }

    fn question(&mut self, id: u16) -> Option<Question> {
        let name = self.name()?;
        let kind = Kind::from_number(self.u16()?);
        self.take(2)?;
        Some(Question { id, name, kind })
    }

    fn name(&mut self) -> Option<String> {
        let mut labels = Vec::new();
        loop {
            let length = usize::from(self.take(1)?[0]);
            match length {
                0 => return Some(labels.join(".")),
                // A pointer ends the name; what it points to was read before and is not needed again.
                0xc0.. => {
                    self.take(1)?;
                    return Some(labels.join("."));
                }
                _ => labels.push(String::from_utf8_lossy(self.take(length)?).to_ascii_lowercase()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_the_wire() {
        let question = Question { id: 7, name: "chat-relay.stream.svc.cluster.local".into(), kind: Kind::A };
        assert_eq!(Question::decode(&question.encode()), Some(question.clone()));
        let answer = Answer {
            question,
            rcode: Rcode::NoError,
            addresses: vec!["10.96.0.11".parse().unwrap(), "fd00::1".parse().unwrap()],
        };
        let bytes = answer.encode();
        assert_eq!(Answer::decode(&bytes), Some(answer.clone()));
        assert_eq!(Question::decode(&bytes), None, "an answer is no question");
        for cut in 0..bytes.len() {
            assert_eq!(Answer::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_real_query_is_read() {
        // dig a example.com, without options
        let bytes = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\0\x07Example\x03com\0\0\x01\0\x01";
        let question = Question::decode(bytes).unwrap();
        assert_eq!((question.id, question.name.as_str(), question.kind), (0x1234, "example.com", Kind::A));
    }
}
