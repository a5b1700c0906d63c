//! The contract's messages as compact tables, read once from the committed descriptors: what turns
//! wire bytes into JSON and checks field masks.

mod load;

use std::collections::HashMap;
use std::sync::OnceLock;

pub(crate) use prost_types::field_descriptor_proto::Type;

/// Every message and enum of `proto/` and of the well-known types it imports.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    messages: Vec<Message>,
    /// Full name without leading dot → index.
    by_name: HashMap<String, usize>,
    enums: Vec<Enum>,
}

/// Types whose JSON is not an object of their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WellKnown {
    No,
    Timestamp,
    Duration,
    /// `google.protobuf.BoolValue` and its like.
    Wrapper,
    Any,
    FieldMask,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub name: String,
    /// In declaration order, which is JSON's.
    pub fields: Vec<Field>,
    /// Index into `fields` by field number; `NO_FIELD` where there is none.
    low: [u16; 64],
    /// The same for the numbers from 64 up, sorted.
    high: Vec<(u32, u16)>,
    pub well_known: WellKnown,
    pub has_oneof: bool,
}

const NO_FIELD: u16 = u16::MAX;

#[derive(Debug)]
pub(crate) struct Field {
    pub name: String,
    /// `"name":`, ready to be printed.
    pub key: Box<[u8]>,
    pub number: u32,
    pub kind: Type,
    pub repeated: bool,
    /// Zero is the same as absent: not printed.
    pub implicit: bool,
    /// Index of the message or enum that `kind` speaks of.
    pub sub: usize,
    /// Number of the oneof this is a member of.
    pub oneof: Option<u16>,
}

/// Names of an enum's values, quoted; the first of aliases.
#[derive(Debug, Default)]
pub(crate) struct Enum(HashMap<i32, Box<[u8]>>);

impl Schema {
    /// The tables, read at first use.
    pub(crate) fn get() -> &'static Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| load::read(crate::DESCRIPTORS))
    }

    /// A message by its full name: "flow.Flow".
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn message(&self, index: usize) -> &Message {
        &self.messages[index]
    }

    /// The quoted name of an enum's value.
    pub(crate) fn enum_name(&self, index: usize, value: i32) -> Option<&[u8]> {
        self.enums[index].0.get(&value).map(|name| &**name)
    }
}

impl Message {
    /// The field with this number, and its place in declaration order.
    #[inline]
    pub(crate) fn by_number(&self, number: u32) -> Option<(u16, &Field)> {
        let at = match self.low.get(number as usize) {
            Some(at) => *at,
            None => self.high.binary_search_by_key(&number, |(n, _)| *n).map_or(NO_FIELD, |i| self.high[i].1),
        };
        self.fields.get(usize::from(at)).map(|field| (at, field))
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}
