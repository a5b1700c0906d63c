//! One message as a JSON object.

use smallvec::SmallVec;

use super::JsonError;
use crate::schema::{Field, Message, Schema, Type, WellKnown};
use crate::wire::{self, Content, WireError};

/// How deep messages may nest; the contract's own nest five deep, but an `Any` may hold an `Any`.
const MAX_DEPTH: usize = 100;

pub(super) struct Printer<'a> {
    pub schema: &'static Schema,
    pub out: &'a mut Vec<u8>,
}

/// One field as it was found: (place in declaration order, content).
type Found<'a> = (u16, Content<'a>);

/// Enough for a flow without growing.
type FoundFields<'a> = SmallVec<[Found<'a>; 40]>;

impl Printer<'_> {
    pub(super) fn message(&mut self, index: usize, wire: &[u8], depth: usize) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::Depth(MAX_DEPTH));
        }
        let message = self.schema.message(index);
        match message.well_known {
            WellKnown::No => self.object(message, wire, depth),
            WellKnown::Timestamp => self.timestamp(wire),
            WellKnown::Duration => self.duration(wire),
            WellKnown::Any => self.any(wire, depth),
            WellKnown::FieldMask => self.field_mask(message, wire),
            WellKnown::Wrapper => {
                let field = &message.fields[0];
                let value = fields(message, wire)?.last().map_or(zero(field), |(_, content)| *content);
                self.value(field, value, depth)
            }
        }
    }

    fn object(&mut self, message: &Message, wire: &[u8], depth: usize) -> Result<(), JsonError> {
        let found = fields(message, wire)?;
        self.out.push(b'{');
        let mut rest = &found[..];
        let mut first = true;
        while let Some((at, _)) = rest.first() {
            let (same, after) = rest.split_at(rest.partition_point(|(other, _)| other == at));
            rest = after;
            let field = &message.fields[usize::from(*at)];
            let before = self.out.len();
            if !first {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&field.key);
            if self.field(field, same, depth)? {
                first = false;
            } else {
                self.out.truncate(before);
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Prints a field's value from everything found of it; false when there is nothing to print.
    fn field(&mut self, field: &Field, found: &[Found<'_>], depth: usize) -> Result<bool, JsonError> {
        if field.repeated {
            return self.list(field, found, depth);
        }
        // Of scalars the last one counts; messages are merged, which on the wire is concatenation.
        let (_, last) = found[found.len() - 1];
        match last {
            Content::Bytes(_) if field.kind == Type::Message && found.len() > 1 => {
                let parts = found.iter().filter_map(|(_, content)| content.bytes());
                let merged: Vec<u8> = parts.flatten().copied().collect();
                self.message(field.sub, &merged, depth + 1)?;
            }
            _ if field.implicit && is_zero(field.kind, last) => return Ok(false),
            _ => self.value(field, last, depth)?,
        }
        Ok(true)
    }

    fn list(&mut self, field: &Field, found: &[Found<'_>], depth: usize) -> Result<bool, JsonError> {
        self.out.push(b'[');
        let start = self.out.len();
        for (_, content) in found {
            match content.bytes().filter(|_| packable(field.kind)) {
                None => self.item(start, field, *content, depth)?,
                Some(mut packed) => {
                    while !packed.is_empty() {
                        let content = unpack(field.kind, &mut packed)?;
                        self.item(start, field, content, depth)?;
                    }
                }
            }
        }
        self.out.push(b']');
        Ok(self.out.len() > start + 1)
    }

    fn item(
        &mut self,
        start: usize,
        field: &Field,
        content: Content<'_>,
        depth: usize,
    ) -> Result<(), JsonError> {
        if self.out.len() > start {
            self.out.push(b',');
        }
        self.value(field, content, depth)
    }

    fn value(&mut self, field: &Field, content: Content<'_>, depth: usize) -> Result<(), JsonError> {
        match (field.kind, content) {
            (Type::Message, Content::Bytes(body)) => self.message(field.sub, body, depth + 1),
            (Type::Enum, Content::Varint(number)) => {
                match self.schema.enum_name(field.sub, number as i32) {
                    Some(name) => self.out.extend_from_slice(name),
                    None => self.signed(i64::from(number as i32)),
                }
                Ok(())
            }
            (kind, content) => self.scalar(kind, content),
        }
    }
}

/// A message's fields in declaration order; of each oneof only the member that was set last.
fn fields<'a>(message: &Message, mut wire: &'a [u8]) -> Result<FoundFields<'a>, WireError> {
    let mut found = FoundFields::new();
    let mut sorted = true;
    while !wire.is_empty() {
        let (number, content) = wire::field(&mut wire)?;
        let Some((at, field)) = message.by_number(number) else { continue };
        // A field of another wire type than declared is a field not known.
        if !fits(field, content) {
            continue;
        }
        if message.has_oneof && field.oneof.is_some() {
            found.retain(|(other, _)| {
                *other == at || message.fields[usize::from(*other)].oneof != field.oneof
            });
        }
        sorted &= found.last().is_none_or(|(last, _)| *last <= at);
        found.push((at, content));
    }
    if !sorted {
        found.sort_by_key(|(at, _)| *at);
    }
    Ok(found)
}

fn fits(field: &Field, content: Content<'_>) -> bool {
    let declared = zero(field);
    std::mem::discriminant(&declared) == std::mem::discriminant(&content)
        || field.repeated && packable(field.kind) && matches!(content, Content::Bytes(_))
}

/// The content of a field set to its default.
fn zero(field: &Field) -> Content<'static> {
    match field.kind {
        Type::Double | Type::Fixed64 | Type::Sfixed64 => Content::Fixed64(0),
        Type::Float | Type::Fixed32 | Type::Sfixed32 => Content::Fixed32(0),
        Type::String | Type::Bytes | Type::Message | Type::Group => Content::Bytes(&[]),
        _ => Content::Varint(0),
    }
}

fn packable(kind: Type) -> bool {
    !matches!(kind, Type::String | Type::Bytes | Type::Message | Type::Group)
}

fn unpack(kind: Type, packed: &mut &[u8]) -> Result<Content<'static>, WireError> {
    Ok(match kind {
        Type::Double | Type::Fixed64 | Type::Sfixed64 => {
            Content::Fixed64(u64::from_le_bytes(wire::take_array(packed)?))
        }
        Type::Float | Type::Fixed32 | Type::Sfixed32 => {
            Content::Fixed32(u32::from_le_bytes(wire::take_array(packed)?))
        }
        _ => Content::Varint(wire::varint(packed)?),
    })
}

/// Whether a value is its type's default once cut to its type's size.
fn is_zero(kind: Type, content: Content<'_>) -> bool {
    match content {
        Content::Varint(number) => match kind {
            Type::Int32 | Type::Uint32 | Type::Sint32 | Type::Enum => number as u32 == 0,
            _ => number == 0,
        },
        Content::Fixed64(number) => number == 0,
        Content::Fixed32(number) => number == 0,
        Content::Bytes(bytes) => bytes.is_empty(),
    }
}
