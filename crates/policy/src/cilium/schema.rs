//! Parts of the schema that types alone do not say.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Anything: it is looked at only to be refused by name.
pub(super) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// A port's number or name, as text.
pub(super) fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 15,
        "pattern": "^([0-9]{1,5}|[A-Za-z0-9]+(-[A-Za-z0-9]+)*)$",
    })
}

/// The number of a kind of ICMP message, or its name.
pub(super) fn icmp_type(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": "^([0-9]{1,3}|[A-Za-z0-9]{1,64})$",
    })
}

/// Names of entities.
pub(super) fn entities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "items": { "type": "string", "enum": super::ENTITIES },
    })
}
