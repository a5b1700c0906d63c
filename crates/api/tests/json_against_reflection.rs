//! The JSON printer against prost-reflect, on random messages of every type in the contract; and
//! against arbitrary bytes, which it prints or refuses.

use std::sync::LazyLock;

use fathom_api::json;
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions, Value,
};

/// A small generator (Numerical Recipes' constants): proptest chooses the seed, and shrinks it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 10] =
            ["", "a", "pod-1", "\"\\/", "<&>", "\u{2028}\u{1}\n", "é😀", "k8s:app=web", "\u{7f}", "x"];
        (0..self.roll(3)).map(|_| PIECES[self.roll(10) as usize]).collect()
    }

    fn number(&mut self) -> u64 {
        match self.roll(4) {
            0 => 0,
            1 => self.roll(200),
            2 => u64::MAX - self.roll(3),
            _ => self.0 ^ self.0 << 21,
        }
    }
}

fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(fathom_api::DESCRIPTORS).expect("descriptors"));
    &POOL
}

fn random_message(dice: &mut Dice, descriptor: &MessageDescriptor, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            message.set_field_by_number(1, Value::I64(dice.roll(1 << 33) as i64 - (1 << 32)));
            let unit = [1, 1_000, 1_000_000][dice.roll(3) as usize];
            message.set_field_by_number(2, Value::I32((dice.roll(1000) * unit) as i32));
            return message;
        }
        "google.protobuf.Any" => {
            let inner =
                random_message(dice, &pool().get_message_by_name("fathom.v1.FlowFacts").unwrap(), depth + 1);
            message.set_field_by_number(1, Value::String("type.googleapis.com/fathom.v1.FlowFacts".into()));
            message.set_field_by_number(2, Value::Bytes(inner.encode_to_vec().into()));
            return message;
        }
        _ => {}
    }
    for field in descriptor.fields() {
        if dice.roll(3) == 0 && (depth < 4 || !matches!(field.kind(), Kind::Message(_))) {
            let value = if field.is_list() {
                Value::List((0..dice.roll(4)).map(|_| random_value(dice, &field, depth)).collect())
            } else {
                random_value(dice, &field, depth)
            };
            message.set_field(&field, value);
        }
    }
    message
}

fn random_value(dice: &mut Dice, field: &FieldDescriptor, depth: u32) -> Value {
    match field.kind() {
        Kind::Message(inner) => Value::Message(random_message(dice, &inner, depth + 1)),
        Kind::Enum(values) => {
            // Now and then a number without a name.
            let numbers: Vec<i32> = values.values().map(|value| value.number()).collect();
            let at = dice.roll(numbers.len() as u64 + 1) as usize;
            Value::EnumNumber(numbers.get(at).copied().unwrap_or(77_777))
        }
        Kind::String => Value::String(dice.text()),
        Kind::Bytes => Value::Bytes(dice.text().into_bytes().into()),
        Kind::Bool => Value::Bool(dice.roll(2) == 1),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(dice.number() as i32),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(dice.number() as u32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(dice.number() as i64),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(dice.number()),
        // Never a whole number: those print as "1" here and as "1.0" there.
        Kind::Double => Value::F64(dice.roll(1 << 20) as f64 + 0.5),
        Kind::Float => Value::F32(dice.roll(1 << 10) as f32 + 0.5),
    }
}

fn reflected(message: &DynamicMessage) -> serde_json::Value {
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).expect("prost-reflect prints it")
}

fn printed(type_name: &str, wire: &[u8]) -> Result<serde_json::Value, json::JsonError> {
    let mut out = Vec::new();
    json::append(type_name, wire, &mut out)?;
    Ok(serde_json::from_slice(&out).expect("what is printed is JSON"))
}

/// Every message of the contract.
fn messages() -> &'static [MessageDescriptor] {
    static MESSAGES: LazyLock<Vec<MessageDescriptor>> = LazyLock::new(|| {
        pool().all_messages().filter(|message| !message.full_name().starts_with("google.")).collect()
    });
    &MESSAGES
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn random_messages_print_as_prost_reflect_prints_them(seed: u64, which in any::<proptest::sample::Index>()) {
        let descriptor = which.get(messages()).clone();
        let message = random_message(&mut Dice(seed), &descriptor, 0);
        let ours = printed(descriptor.full_name(), &message.encode_to_vec());
        prop_assert_eq!(ours.expect("prints"), reflected(&message));
    }

    #[test]
    fn flows_print_as_prost_reflect_prints_them_and_read_back(seed: u64) {
        let descriptor = pool().get_message_by_name("observer.GetFlowsResponse").unwrap();
        let message = random_message(&mut Dice(seed), &descriptor, 0);
        let wire = message.encode_to_vec();
        prop_assert_eq!(printed(descriptor.full_name(), &wire).expect("prints"), reflected(&message));
        let mut text = Vec::new();
        json::append(descriptor.full_name(), &wire, &mut text).expect("prints");
        let back = json::parse_response(std::str::from_utf8(&text).unwrap()).expect("reads");
        // Compared as text: an Any's value may come back with its fields in another order.
        let mut again = Vec::new();
        json::append(descriptor.full_name(), &back.response.encode_to_vec(), &mut again).expect("prints");
        prop_assert_eq!(String::from_utf8(again).unwrap(), String::from_utf8(text).unwrap());
    }

    #[test]
    fn two_encodings_one_after_the_other_are_one_merged_message(a: u64, b: u64, which in any::<proptest::sample::Index>()) {
        let descriptor = which.get(messages()).clone();
        let [a, b] = [a, b].map(|seed| random_message(&mut Dice(seed), &descriptor, 0).encode_to_vec());
        let both = [a, b].concat();
        let merged = DynamicMessage::decode(descriptor.clone(), &both[..]).expect("decodes");
        prop_assert_eq!(printed(descriptor.full_name(), &both).expect("prints"), reflected(&merged));
    }

    #[test]
    fn bytes_that_decode_print_and_others_are_refused(bytes: Vec<u8>, which in any::<proptest::sample::Index>()) {
        let descriptor = which.get(messages()).clone();
        let _ = printed(descriptor.full_name(), &bytes);
    }

    #[test]
    fn damaged_flows_print_or_are_refused(seed: u64, at in any::<proptest::sample::Index>(), byte: u8, cut: bool) {
        let descriptor = pool().get_message_by_name("observer.GetFlowsResponse").unwrap();
        let mut wire = random_message(&mut Dice(seed), &descriptor, 0).encode_to_vec();
        if !wire.is_empty() {
            let at = at.index(wire.len());
            wire[at] = byte;
            if cut {
                wire.truncate(at);
            }
        }
        if printed(descriptor.full_name(), &wire).is_ok() {
            let _ = fathom_api::peek::peek(&wire);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[ -~é\\n]{0,60}", json in "[{}\\[\\]:,\"a-z0-9_.]{0,60}") {
        for text in [text, json] {
            let _ = json::parse_filter(&text);
            let _ = json::parse_response(&text);
        }
    }
}

#[test]
fn the_list_of_messages_is_the_contracts() {
    assert!(messages().len() > 60, "{}", messages().len());
    assert!(messages().iter().any(|message| message.full_name() == "flow.Flow"));
}
