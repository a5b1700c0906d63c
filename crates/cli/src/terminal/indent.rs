//! JSON on several lines, as Go's `json.MarshalIndent` writes it.

/// Appends compact JSON with two spaces a level; what stands in it stays as it is.
pub fn append(json: &[u8], out: &mut Vec<u8>) {
    let mut depth = 0;
    let (mut quoted, mut escaped) = (false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for (at, &byte) in json.iter().enumerate() {
        if quoted {
            out.push(byte);
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        let closes = |at: usize| matches!(json.get(at), Some(b'}' | b']'));
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if !closes(at + 1) {
                    depth += 1;
                    line(out, depth);
                }
            }
            b'}' | b']' => {
                if !matches!(at.checked_sub(1).map(|before| json[before]), Some(b'{' | b'[')) {
                    depth = depth.saturating_sub(1);
                    line(out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(out, depth);
            }
            b':' => out.extend(b": "),
            _ => {
                quoted = byte == b'"';
                out.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_reads_as_pretty_json_does_and_text_is_left_alone() {
        for json in [
            r#"[]"#,
            r#"[{}]"#,
            r#"[{"a":"x{,:[\"\\","b":{"c":[1,2],"d":{}}},{"e":null}]"#,
            r#"{"a":[],"b":[[]],"c":"}"}"#,
        ] {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            let mut out = Vec::new();
            super::append(json.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string_pretty(&value).unwrap());
        }
    }
}
