//! One interface of one container, and the label its host-side device carries.

/// CNI_CONTAINERID and CNI_IFNAME, both checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub container_id: String,
    pub interface: String,
}

impl Attachment {
    /// `ifalias` of the host-side device: finds it again with neither the agent nor a previous
    /// result, and keeps DEL and GC from touching a device another network made.
    pub fn alias(&self, network: &str) -> String {
        format!("{}{}/{}", alias_prefix(network), self.container_id, self.interface)
    }

    /// The attachment behind an alias of this network.
    pub fn from_alias(network: &str, alias: &str) -> Option<Self> {
        let (container_id, interface) = alias.strip_prefix(&alias_prefix(network))?.split_once('/')?;
        Some(Self { container_id: container_id.to_owned(), interface: interface.to_owned() })
    }
}

fn alias_prefix(network: &str) -> String {
    format!("fathom:{network}/")
}

/// Letters, digits, and after the first also `_`, `.`, `-`: container ids and network names.
pub fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// What the kernel takes as a device name: 1 to 15 bytes, no `/`, `:` or white space, not a dot name.
pub fn is_interface_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_leads_back_to_its_attachment_and_only_in_its_network() {
        let eth0 = Attachment { container_id: "0af3-x".into(), interface: "eth0".into() };
        let alias = eth0.alias("pods");
        assert_eq!(alias, "fathom:pods/0af3-x/eth0");
        assert_eq!(Attachment::from_alias("pods", &alias), Some(eth0));
        assert_eq!(Attachment::from_alias("pod", &alias), None);
        assert_eq!(Attachment::from_alias("pods", "uplink"), None);
    }

    #[test]
    fn names_the_kernel_or_the_specification_refuses_are_refused() {
        for good in ["eth0", "a", "net1.100", "abcdefghijklmno"] {
            assert!(is_interface_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "abcdefghijklmnop", "é"] {
            assert!(!is_interface_name(bad), "{bad}");
        }
        assert!(is_identifier("0a_b.c-d"));
        for bad in ["", "-a", ".a", "a/b", "a b"] {
            assert!(!is_identifier(bad), "{bad}");
        }
    }
}
