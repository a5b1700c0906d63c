//! From descriptors to tables.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::Label;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use super::{Enum, Field, Message, NO_FIELD, Schema, Type, WellKnown};

/// Reads a `FileDescriptorSet`. It is compiled in and checked by a test: a broken one is a broken build.
pub(super) fn read(descriptors: &[u8]) -> Schema {
    let set = FileDescriptorSet::decode(descriptors).expect("committed descriptors decode");
    let mut loader = Loader::default();
    for file in &set.file {
        loader.scope(file.package(), &file.message_type, &file.enum_type);
    }
    loader.finish()
}

#[derive(Default)]
struct Loader<'a> {
    messages: Vec<(String, &'a DescriptorProto)>,
    enums: Vec<Enum>,
    enum_by_name: HashMap<String, usize>,
}

impl<'a> Loader<'a> {
    fn scope(&mut self, scope: &str, messages: &'a [DescriptorProto], enums: &[EnumDescriptorProto]) {
        let full = |name: &str| if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        for described in enums {
            let mut names = Enum::default();
            for value in &described.value {
                let quoted = || format!("\"{}\"", value.name()).into_bytes().into();
                names.0.entry(value.number()).or_insert_with(quoted);
            }
            self.enum_by_name.insert(full(described.name()), self.enums.len());
            self.enums.push(names);
        }
        for message in messages {
            let name = full(message.name());
            self.scope(&name, &message.nested_type, &message.enum_type);
            self.messages.push((name, message));
        }
    }

    fn finish(self) -> Schema {
        let by_name: HashMap<_, _> =
            self.messages.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect();
        let field = |described: &FieldDescriptorProto| {
            let sub = described.type_name().trim_start_matches('.');
            let sub = match described.r#type() {
                Type::Message | Type::Group => by_name[sub],
                Type::Enum => self.enum_by_name[sub],
                _ => 0,
            };
            self::field(described, sub)
        };
        let message = |(name, described): &(String, &DescriptorProto)| {
            self::message(name, described.field.iter().map(field).collect())
        };
        let messages = self.messages.iter().map(message).collect();
        Schema { messages, by_name, enums: self.enums }
    }
}

fn field(described: &FieldDescriptorProto, sub: usize) -> Field {
    let repeated = described.label() == Label::Repeated;
    let message = matches!(described.r#type(), Type::Message | Type::Group);
    // A proto3 `optional` is the only member of a oneof of its own, which needs no last-one-wins.
    let real_oneof = described.oneof_index.filter(|_| !described.proto3_optional());
    Field {
        name: described.name().to_owned(),
        key: format!("\"{}\":", described.name()).into_bytes().into(),
        number: described.number().unsigned_abs(),
        kind: described.r#type(),
        repeated,
        implicit: !repeated && !message && described.oneof_index.is_none(),
        sub,
        oneof: real_oneof.and_then(|index| u16::try_from(index).ok()),
    }
}

fn message(name: &str, fields: Vec<Field>) -> Message {
    let well_known = match name {
        "google.protobuf.Timestamp" => WellKnown::Timestamp,
        "google.protobuf.Duration" => WellKnown::Duration,
        "google.protobuf.Any" => WellKnown::Any,
        "google.protobuf.FieldMask" => WellKnown::FieldMask,
        _ if name.starts_with("google.protobuf.") && fields.len() == 1 && fields[0].name == "value" => {
            WellKnown::Wrapper
        }
        _ => WellKnown::No,
    };
    let mut low = [NO_FIELD; 64];
    let mut high = Vec::new();
    for (field, at) in fields.iter().zip(0u16..) {
        match low.get_mut(field.number as usize) {
            Some(slot) => *slot = at,
            None => high.push((field.number, at)),
        }
    }
    high.sort_unstable();
    let has_oneof = fields.iter().any(|field| field.oneof.is_some());
    Message { name: name.to_owned(), fields, low, high, well_known, has_oneof }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_is_there_with_its_odd_names_and_numbers() {
        let schema = Schema::get();
        let flow = schema.message(schema.index("flow.Flow").unwrap());
        assert_eq!(flow.by_name("IP").map(|field| field.number), Some(5));
        assert_eq!(flow.by_number(100_000).map(|(_, field)| field.name.as_str()), Some("Summary"));
        assert_eq!(flow.by_number(34).map(|(_, field)| field.name.as_str()), Some("uuid"));
        assert!(flow.by_number(7).is_none() && flow.by_number(4_000_000).is_none());
        assert!(
            schema.index("fathom.v1.FlowFacts").is_some() && schema.index("google.protobuf.Any").is_some()
        );
    }

    #[test]
    fn the_contract_has_neither_maps_nor_groups_which_the_json_printer_does_not_know() {
        let set = FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap();
        let ours = set.file.iter().filter(|file| !file.name().starts_with("google/"));
        for message in ours.flat_map(|file| &file.message_type) {
            assert!(
                message.nested_type.iter().all(|nested| nested.options.is_none()),
                "map in {}",
                message.name()
            );
            assert!(
                message.field.iter().all(|field| field.r#type() != Type::Group),
                "group in {}",
                message.name()
            );
        }
    }

    #[test]
    fn optional_scalars_keep_their_zero_and_are_no_oneof() {
        let schema = Schema::get();
        let rule = schema.message(schema.index("fathom.v1.RuleRef").unwrap());
        let index = rule.by_name("index").unwrap();
        assert!(!index.implicit && index.oneof.is_none() && !rule.has_oneof);
    }
}
