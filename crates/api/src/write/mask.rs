//! Field masks over `flow.Flow`.

use bytes::BytesMut;

use crate::schema::{Schema, Type};
use crate::wire::{self, Content};

/// Which fields of a flow a client wants.
#[derive(Clone, Debug, Default)]
pub struct Mask(Option<Wanted>);

/// A mask path that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid field mask: {path:?}: {problem}")]
pub struct MaskError {
    pub path: String,
    pub problem: String,
}

impl From<MaskError> for tonic::Status {
    fn from(error: MaskError) -> Self {
        tonic::Status::invalid_argument(error.to_string())
    }
}

/// Fields wanted of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Bit n: field n, for the numbers below 64, where all fields are that every flow has.
    low: u64,
    /// Of these: those of which only a part is wanted.
    low_parts: u64,
    /// (number, what of it), sorted; `None` = all of it.
    fields: Vec<(u32, Option<Wanted>)>,
}

/// What is wanted of one field.
#[derive(Clone, Copy)]
enum Want<'a> {
    Nothing,
    All,
    Part(&'a Wanted),
}

impl Mask {
    /// Every field.
    pub fn all() -> Self {
        Self(None)
    }

    /// Compiles a request's mask; none, or one without paths, means every field.
    ///
    /// # Errors
    /// The first path that is not a field of `flow.Flow`, or goes on behind a repeated field.
    pub fn compile(mask: Option<&prost_types::FieldMask>) -> Result<Self, MaskError> {
        let paths = mask.map_or(&[][..], |mask| &mask.paths);
        if paths.is_empty() {
            return Ok(Self::all());
        }
        let mut wanted = Wanted::default();
        for path in paths {
            let numbers = resolve(path).map_err(|problem| MaskError { path: path.clone(), problem })?;
            wanted.add(&numbers);
        }
        Ok(Self(Some(wanted)))
    }

    /// Whether every field is wanted.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether any part of this field of `flow.Flow` is wanted.
    #[inline]
    pub(crate) fn wants(&self, field: u32) -> bool {
        self.0.as_ref().is_none_or(|wanted| !matches!(wanted.of(field), Want::Nothing))
    }

    /// The part wanted of a field; `None` = all of it.
    #[inline]
    pub(crate) fn part(&self, field: u32) -> Option<&Wanted> {
        match self.0.as_ref()?.of(field) {
            Want::Part(part) => Some(part),
            _ => None,
        }
    }

    /// Cuts an encoded `flow.Flow` down to what is wanted, for flows that came as bytes.
    ///
    /// # Errors
    /// The bytes are not a protobuf message; `flow` is left as it came apart.
    pub fn apply(&self, flow: &mut BytesMut) -> Result<(), crate::wire::WireError> {
        match &self.0 {
            Some(wanted) => wanted.cut(flow, 0),
            None => Ok(()),
        }
    }
}

impl Wanted {
    #[inline]
    fn of(&self, field: u32) -> Want<'_> {
        if field < 64 {
            if self.low >> field & 1 == 0 {
                return Want::Nothing;
            }
            if self.low_parts >> field & 1 == 0 {
                return Want::All;
            }
        }
        match self.fields.binary_search_by_key(&field, |(number, _)| *number) {
            Err(_) => Want::Nothing,
            Ok(at) => self.fields[at].1.as_ref().map_or(Want::All, Want::Part),
        }
    }

    /// A path to a whole field outweighs paths to parts of it.
    fn add(&mut self, path: &[u32]) {
        let Some((first, rest)) = path.split_first() else { return };
        let fresh = || (*first, Some(Self::default()));
        let at = match self.fields.binary_search_by_key(first, |(number, _)| *number) {
            Ok(at) => at,
            Err(at) => {
                self.fields.insert(at, fresh());
                at
            }
        };
        match &mut self.fields[at].1 {
            part if rest.is_empty() => *part = None,
            Some(part) => part.add(rest),
            None => {}
        }
        if let Some(bit) = 1u64.checked_shl(*first) {
            let partial = self.fields[at].1.is_some();
            self.low |= bit;
            self.low_parts = if partial { self.low_parts | bit } else { self.low_parts & !bit };
        }
    }

    /// Cuts the encoded message that starts at `start` and ends with the buffer down to what is wanted.
    pub(crate) fn cut(&self, out: &mut BytesMut, start: usize) -> Result<(), wire::WireError> {
        let kept = self.keep(&mut out[start..])?;
        out.truncate(start + kept);
        Ok(())
    }

    /// Moves the wanted fields to the front; their length in bytes.
    fn keep(&self, message: &mut [u8]) -> Result<usize, wire::WireError> {
        let (mut read, mut kept) = (0, 0);
        while read < message.len() {
            let mut rest = &message[read..];
            let (number, content) = wire::field(&mut rest)?;
            let end = message.len() - rest.len();
            match (self.of(number), content) {
                (Want::Nothing, _) => {}
                (Want::Part(part), Content::Bytes(body)) => {
                    let body = end - body.len()..end;
                    let (body_start, body_kept) = (body.start, part.keep(&mut message[body])?);
                    let key = u64::from(number) << 3 | 2;
                    let (key_len, len_len) = (wire::varint_len(key), wire::varint_len(body_kept as u64));
                    wire::write_varint(&mut message[kept..kept + key_len], key);
                    kept += key_len;
                    wire::write_varint(&mut message[kept..kept + len_len], body_kept as u64);
                    kept += len_len;
                    message.copy_within(body_start..body_start + body_kept, kept);
                    kept += body_kept;
                }
                (Want::All | Want::Part(_), _) => {
                    message.copy_within(read..end, kept);
                    kept += end - read;
                }
            }
            read = end;
        }
        Ok(kept)
    }
}

/// Field numbers along a path from `flow.Flow`.
fn resolve(path: &str) -> Result<Vec<u32>, String> {
    let schema = Schema::get();
    let mut message = schema.index("flow.Flow").map(|index| schema.message(index));
    let mut numbers = Vec::new();
    let mut behind = "";
    for name in path.split('.') {
        let Some(here) = message else {
            return Err(format!("{behind:?} has no fields a mask can choose from"));
        };
        let Some(field) = here.by_name(name) else {
            let close = here.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            let hint = close.map(|field| format!(" (did you mean {:?}?)", field.name)).unwrap_or_default();
            return Err(format!("{name:?} is not a field of {}{hint}", here.name));
        };
        numbers.push(field.number);
        behind = name;
        message = (field.kind == Type::Message && !field.repeated).then(|| schema.message(field.sub));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Endpoint, Flow, Ip};
    use prost::Message as _;

    fn mask(paths: &[&str]) -> Result<Mask, MaskError> {
        Mask::compile(Some(&prost_types::FieldMask {
            paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        }))
    }

    #[test]
    fn paths_that_lead_nowhere_are_named() {
        for path in [
            "",
            "nope",
            "ip",
            "source.nope",
            "source.",
            "verdict.x",
            "source.workloads.name",
            ".",
            "Summary.x",
        ] {
            let error = mask(&["time", path]).unwrap_err();
            assert_eq!(error.path, path);
        }
        assert!(mask(&["ip"]).unwrap_err().to_string().contains("did you mean \"IP\"?"));
    }

    #[test]
    fn no_mask_and_an_empty_one_mean_everything() {
        assert!(Mask::compile(None).unwrap().is_all() && mask(&[]).unwrap().is_all());
        assert!(mask(&["source.labels"]).unwrap().part(8).is_some());
        assert!(mask(&["source.labels", "source"]).unwrap().part(8).is_none());
        assert!(mask(&["source", "source.labels"]).unwrap().part(8).is_none());
    }

    #[test]
    fn bytes_are_cut_down_to_what_is_wanted() {
        let pod = |name: &str| Endpoint {
            identity: 77,
            pod_name: name.into(),
            namespace: "n".into(),
            ..Default::default()
        };
        let flow = Flow {
            verdict: 1,
            ip: Some(Ip { source: "10.0.0.1".into(), destination: "10.0.0.2".into(), ..Default::default() }),
            source: Some(pod(&"x".repeat(200))),
            destination: Some(pod("b")),
            uuid: "u".into(),
            ..Default::default()
        };
        let mut bytes = BytesMut::from(&flow.encode_to_vec()[..]);
        mask(&["IP.destination", "source.identity", "destination.workloads", "uuid"])
            .unwrap()
            .apply(&mut bytes)
            .unwrap();
        let want = Flow {
            ip: Some(Ip { destination: "10.0.0.2".into(), ..Default::default() }),
            source: Some(Endpoint { identity: 77, ..Default::default() }),
            destination: Some(Endpoint::default()),
            uuid: "u".into(),
            ..Default::default()
        };
        assert_eq!(Flow::decode(&bytes[..]).unwrap(), want);
        assert_eq!(bytes, want.encode_to_vec());
    }
}
