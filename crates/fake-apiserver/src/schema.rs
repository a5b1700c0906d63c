//! What a definition's schema asks of objects: unknown fields are dropped, others checked. Rules in CEL are not
//! read, but for two forms: that a value never changes, and that the name matches an expression.

use regex::Regex;
use serde_json::Value;

/// Drops fields the schema does not name.
pub fn prune(object: &mut Value, schema: &Value) {
    prune_at(object, schema, true);
}

fn prune_at(value: &mut Value, schema: &Value, is_root: bool) {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    match value {
        Value::Object(map) => {
            let embedded = is_root || schema["x-kubernetes-embedded-resource"] == true;
            let others = &schema["additionalProperties"];
            map.retain(|field, value| {
                let own = embedded && matches!(field.as_str(), "apiVersion" | "kind" | "metadata");
                if own {
                    return true;
                }
                match schema["properties"].get(field) {
                    Some(schema) => prune_at(value, schema, false),
                    None if others.is_object() => prune_at(value, others, false),
                    None => return *others == true,
                }
                true
            });
        }
        Value::Array(items) => items.iter_mut().for_each(|item| prune_at(item, &schema["items"], false)),
        _ => {}
    }
}

/// Writes defaults where the schema has some.
pub fn default(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                if !map.contains_key(field)
                    && let Some(value) = schema.get("default")
                {
                    map.insert(field.clone(), value.clone());
                }
                if let Some(value) = map.get_mut(field) {
                    default(value, schema);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| default(item, &schema["items"])),
        _ => {}
    }
}

/// What is wrong with an object: a field and a text each.
pub fn faults(object: &Value, before: Option<&Value>, schema: &Value) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    check(object, before, schema, "", &mut faults);
    faults
}

/// Whether a number breaks a limit.
type Breaks = fn(f64, f64) -> bool;

fn check(
    value: &Value,
    before: Option<&Value>,
    schema: &Value,
    at: &str,
    faults: &mut Vec<(String, String)>,
) {
    let mut fault = |text: String| faults.push((at.trim_start_matches('.').to_owned(), text));
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if let Some(wanted) = schema["type"].as_str()
        && !is_type(value, wanted)
    {
        let text = format!("Invalid value: {value}: {at} in body must be of type {wanted}");
        return fault(text);
    }
    if schema["x-kubernetes-int-or-string"] == true
        && !(value.is_i64() || value.is_u64() || value.is_string())
    {
        return fault(format!("Invalid value: {value}: must be an integer or a string"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        fault(format!("Unsupported value: {value}: supported values: {}", Value::Array(allowed.clone())));
    }
    let mut bound = |limit: &str, found: f64, is_over: Breaks| {
        if let Some(wanted) = schema[limit].as_f64()
            && is_over(found, wanted)
        {
            fault(format!("Invalid value: {found} breaks {limit} {wanted}"));
        }
    };
    let (more, less): (Breaks, Breaks) = (|a, b| a > b, |a, b| a < b);
    #[expect(clippy::cast_precision_loss, reason = "lengths are small")]
    match value {
        Value::Number(number) => {
            bound("maximum", number.as_f64().unwrap_or_default(), more);
            bound("minimum", number.as_f64().unwrap_or_default(), less);
        }
        Value::String(text) => {
            bound("maxLength", text.chars().count() as f64, more);
            bound("minLength", text.chars().count() as f64, less);
        }
        Value::Array(items) => {
            bound("maxItems", items.len() as f64, more);
            bound("minItems", items.len() as f64, less);
        }
        Value::Object(map) => bound("maxProperties", map.len() as f64, more),
        _ => {}
    }
    if let (Value::String(text), Some(pattern)) = (value, schema["pattern"].as_str())
        && Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
    {
        fault(format!("Invalid value: {text:?}: in body should match '{pattern}'"));
    }
    rules(value, before, schema, &mut fault);
    match value {
        Value::Object(map) => {
            for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !map.contains_key(required) {
                    let at = format!("{at}.{required}");
                    faults.push((at.trim_start_matches('.').to_owned(), "Required value".to_owned()));
                }
            }
            for (field, value) in map {
                let of_field = schema["properties"].get(field);
                let of_field =
                    of_field.or_else(|| Some(&schema["additionalProperties"]).filter(|s| s.is_object()));
                let Some(schema) = of_field else { continue };
                check(value, before.and_then(|b| b.get(field)), schema, &format!("{at}.{field}"), faults);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(item, None, &schema["items"], &format!("{at}[{index}]"), faults);
            }
        }
        _ => {}
    }
}

fn rules(value: &Value, before: Option<&Value>, schema: &Value, fault: &mut impl FnMut(String)) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = rule["rule"].as_str().unwrap_or_default().trim();
        let message = rule["message"].as_str().unwrap_or(text);
        let broken = if text == "self == oldSelf" {
            before.is_some_and(|before| before != value)
        } else if let Some(pattern) = text.strip_prefix("self.metadata.name.matches('") {
            let pattern = pattern.trim_end_matches("')");
            let name = value["metadata"]["name"].as_str().unwrap_or_default();
            Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(name))
        } else {
            false
        };
        if broken {
            fault(format!("Invalid value: {message}"));
        }
    }
}

fn is_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object", "properties": {
            "labels": {"type": "array", "minItems": 1, "items": {"type": "string", "maxLength": 3},
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "never changes"}]},
            "any": {"type": "object", "additionalProperties": {"type": "integer"}},
            "kept": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}}})
    }

    #[test]
    fn unknown_fields_go_where_the_schema_does_not_keep_them() {
        let mut object = json!({"kind": "X", "metadata": {"name": "x"}, "more": 1,
            "spec": {"labels": ["a"], "any": {"x": 1}, "kept": {"y": 1}, "z": 1}});
        prune(&mut object, &schema());
        let wanted = json!({"kind": "X", "metadata": {"name": "x"},
            "spec": {"labels": ["a"], "any": {"x": 1}, "kept": {"y": 1}}});
        assert_eq!(object, wanted);
    }

    #[test]
    fn what_breaks_the_schema_is_named() {
        let fields = |object: &Value, before: Option<&Value>| -> Vec<String> {
            faults(object, before, &schema()).into_iter().map(|(field, _)| field).collect()
        };
        let good = json!({"spec": {"labels": ["a"]}});
        assert_eq!(fields(&good, None), [""; 0]);
        assert_eq!(fields(&json!({}), None), ["spec"]);
        assert_eq!(fields(&json!({"spec": {"labels": []}}), None), ["spec.labels"]);
        assert_eq!(
            fields(&json!({"spec": {"labels": ["long", 1]}}), None),
            ["spec.labels[0]", "spec.labels[1]"]
        );
        assert_eq!(fields(&json!({"spec": {"labels": ["b"]}}), Some(&good)), ["spec.labels"]);
        assert_eq!(fields(&json!({"spec": {"any": {"x": "y"}}}), None), ["spec.any.x"]);
    }
}
