use super::*;
use crate::observe::flag;
use fathom_api::flow::{EventTypeFilter, Verdict};

/// Compiles what a shell would pass, one word per flag or value.
fn of(line: &str) -> Result<Filters, String> {
    let mut words = line.split_whitespace();
    let mut typed = Vec::new();
    while let Some(word) = words.next() {
        let name = word.trim_start_matches('-');
        let flag = flag::all()
            .find(|f| f.long == name || f.short.is_some_and(|s| s.to_string() == name))
            .unwrap_or_else(|| panic!("no flag {word}"));
        typed.push((flag, if flag.value.is_some() { words.next().expect("a value") } else { "true" }));
    }
    compile(typed).map_err(|e| e.to_string())
}

fn filter(fill: impl FnOnce(&mut FlowFilter)) -> FlowFilter {
    let mut filter = FlowFilter::default();
    fill(&mut filter);
    filter
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| t.to_string()).collect()
}

#[test]
fn no_flags_make_no_filters() {
    assert_eq!(of(""), Ok(Filters::default()));
}

#[test]
fn either_side_flags_make_two_filters_and_others_one() {
    assert_eq!(
        of("--pod web").unwrap().allow,
        [filter(|f| f.source_pod = strings(&["web"])), filter(|f| f.destination_pod = strings(&["web"]))]
    );
    assert_eq!(
        of("--from-pod a --to-pod b --verdict DROPPED").unwrap().allow,
        [filter(|f| {
            f.source_pod = strings(&["a"]);
            f.destination_pod = strings(&["b"]);
            f.verdict = vec![Verdict::Dropped as i32];
        })]
    );
}

#[test]
fn a_repeated_flag_lists_alternatives() {
    let filters = of("--verdict DROPPED --verdict error -t drop -t trace:to-stack").unwrap();
    assert_eq!(
        filters.allow,
        [filter(|f| {
            f.verdict = vec![Verdict::Dropped as i32, Verdict::Error as i32];
            f.event_type = vec![
                EventTypeFilter { r#type: 1, ..Default::default() },
                EventTypeFilter { r#type: 4, match_sub_type: true, sub_type: 3 },
            ];
        })]
    );
}

#[test]
fn not_inverts_the_next_flag_only() {
    let filters = of("--not --from-pod a --to-pod b --not --verdict FORWARDED").unwrap();
    assert_eq!(filters.allow, [filter(|f| f.destination_pod = strings(&["b"]))]);
    assert_eq!(
        filters.deny,
        [filter(|f| {
            f.source_pod = strings(&["a"]);
            f.verdict = vec![Verdict::Forwarded as i32];
        })]
    );
}

#[test]
fn not_without_a_flag_after_it_is_refused() {
    assert!(of("--pod a --not").unwrap_err().starts_with("trailing --not found in the arguments"));
    assert_eq!(
        of("--not --not --pod a").unwrap_err(),
        r#"invalid argument "true" for "--not" flag: consecutive --not statements"#
    );
}

#[test]
fn namespaces_merge_into_pods_and_services() {
    let allow = |line: &str| of(line).unwrap().allow;
    assert_eq!(
        allow("-n shop"),
        [filter(|f| f.source_pod = strings(&["shop/"])), filter(|f| f.destination_pod = strings(&["shop/"]))]
    );
    assert_eq!(
        allow("--pod cart -n shop -n test"),
        [
            filter(|f| f.source_pod = strings(&["shop/cart", "test/cart"])),
            filter(|f| f.destination_pod = strings(&["shop/cart", "test/cart"])),
        ]
    );
    assert_eq!(
        allow("-A --pod cart"),
        [filter(|f| f.source_pod = strings(&["/cart"])), filter(|f| f.destination_pod = strings(&["/cart"]))]
    );
    assert_eq!(
        allow("-A"),
        [filter(|f| f.source_pod = strings(&["/"])), filter(|f| f.destination_pod = strings(&["/"]))]
    );
    assert_eq!(
        allow("--service db -n shop"),
        [
            filter(|f| f.source_service = strings(&["shop/db"])),
            filter(|f| f.destination_service = strings(&["shop/db"])),
        ]
    );
    assert_eq!(
        allow("--from-namespace a --to-pod b/x"),
        [filter(|f| {
            f.source_pod = strings(&["a/"]);
            f.destination_pod = strings(&["b/x"]);
        })]
    );
    assert_eq!(
        allow("--from-pod x --from-namespace a --to-all-namespaces"),
        [filter(|f| {
            f.source_pod = strings(&["a/x"]);
            f.destination_pod = strings(&["/"]);
        })]
    );
}

#[test]
fn contradicting_namespaces_are_refused_with_the_flag_that_completes_them() {
    assert_eq!(
        of("-n shop --pod test/cart").unwrap_err(),
        r#"invalid argument "test/cart" for "--pod" flag: namespace conflict: "shop" does not contain "test/cart""#
    );
    assert_eq!(
        of("--pod test/cart -n shop").unwrap_err(),
        r#"invalid argument "shop" for "-n, --namespace" flag: namespace conflict: "shop" does not contain "test/cart""#
    );
    assert_eq!(
        of("--to-pod a/x --to-service b/y").unwrap_err(),
        r#"invalid argument "b/y" for "--to-service" flag: namespace of service "b/y" conflict with pod "a""#
    );
}

#[test]
fn conflicting_flags_are_refused_by_name() {
    for (line, one, other) in [
        ("--ip 1.1.1.1 --from-ip 2.2.2.2", "from-ip", "ip"),
        ("--pod a --ip 1.1.1.1", "ip", "pod"),
        ("--fqdn a --ip 1.1.1.1", "ip", "fqdn"),
        ("-n a -A", "namespace", "all-namespaces"),
        ("--to-pod a -n b", "to-pod", "namespace"),
        ("--label a --from-label b", "label", "from-label"),
        ("--service a --to-service b", "service", "to-service"),
        ("--port 1 --to-port 2", "port", "to-port"),
        ("--identity 1 --from-identity 2", "identity", "from-identity"),
        ("--workload a --to-workload b", "workload", "to-workload"),
        ("--encrypted --unencrypted", "encrypted", "unencrypted"),
        ("--reply --not-reply", "reply", "not-reply"),
    ] {
        let error = of(line).unwrap_err();
        let expected = format!("filters --{one} and --{other} cannot be combined");
        assert!(error.ends_with(&expected), "{line}: got {error}");
    }
    // What is allowed and what is denied don't get in each other's way.
    assert!(of("--ip 1.1.1.1 --not --pod a").is_ok());
    assert!(of("--from-pod a --to-ip 1.1.1.1").is_ok());
}

#[test]
fn bad_values_are_refused_with_flag_and_value() {
    for (line, expected) in [
        ("--verdict OK", r#"invalid argument "OK" for "--verdict" flag: unknown verdict "OK" (expected "#),
        ("-t moon", r#"invalid argument "moon" for "-t, --type" flag: unknown event type "moon""#),
        (
            "--http-status 600",
            r#"invalid argument "600" for "--http-status" flag: not a status; a code ("404"), or its beginning ("4xx", "40x", "4+")"#,
        ),
        (
            "--http-path /a --type drop",
            "--http-path is about events of type l7, and --type asks for others only: leave --type out",
        ),
        (
            "--ip-trace-id 0",
            r#"invalid argument "0" for "--ip-trace-id" flag: invalid --ip-trace-id value; must be greater than 0"#,
        ),
        (
            "--identity me",
            r#"invalid argument "me" for "--identity" flag: unknown identity "me" (expected a number, "#,
        ),
        ("--ip 1.1.1", r#"invalid argument "1.1.1" for "--ip" flag: neither an IP address nor a CIDR"#),
    ] {
        let error = of(line).unwrap_err();
        assert!(error.starts_with(expected), "{line}: got {error}");
    }
}

#[test]
fn a_port_matches_on_either_side_whatever_side_the_endpoint_is_on() {
    assert_eq!(
        of("--port 80").unwrap().allow,
        [filter(|f| f.source_port = strings(&["80"])), filter(|f| f.destination_port = strings(&["80"]))]
    );
    assert_eq!(
        of("--pod web --port 80").unwrap().allow,
        [
            filter(|f| {
                f.source_pod = strings(&["web"]);
                f.source_port = strings(&["80"]);
            }),
            filter(|f| {
                f.source_pod = strings(&["web"]);
                f.destination_port = strings(&["80"]);
            }),
            filter(|f| {
                f.destination_pod = strings(&["web"]);
                f.source_port = strings(&["80"]);
            }),
            filter(|f| {
                f.destination_pod = strings(&["web"]);
                f.destination_port = strings(&["80"]);
            }),
        ]
    );
    // Sides that are named stay as they are.
    assert_eq!(
        of("--from-pod web --to-port 80").unwrap().allow,
        [filter(|f| {
            f.source_pod = strings(&["web"]);
            f.destination_port = strings(&["80"]);
        })]
    );
}

#[test]
fn every_flow_flag_fills_its_field() {
    let line = "--uuid u --node-name n* --node-label k=v --protocol tcp --http-status 4xx --http-method get \
        --http-path /a --http-url http --http-header a:b --dns-query x \
        --trace-id 4bf92f3577b34da6a3ce929d0e0e4736 --ip-trace-id 7 -4 -6 \
        --ip-version none --snat-ip 1.2.3.4 --tcp-flags syn --traffic-direction ingress --interface eth0 \
        --drop-reason-desc POLICY_DENIED --reply --encrypted --cel-expression true";
    let [filter] = <[FlowFilter; 1]>::try_from(of(line).unwrap().allow).unwrap();
    assert_eq!(filter.ip_version, [1, 2, 0]);
    assert_eq!(filter.drop_reason_desc, [133]);
    assert_eq!(filter.dns_query, ["x"]);
    assert_eq!(filter.http_status_code, ["4+"]);
    assert_eq!(filter.reply, [true]);
    assert_eq!(filter.encrypted, [true]);
    assert_eq!(filter.experimental.unwrap().cel_expression, ["true"]);
    assert_eq!(filter.interface[0].name, "eth0");
    assert_eq!(filter.source_ip_xlated, ["1.2.3.4"]);
}

#[test]
fn flags_about_messages_go_with_type_l7() {
    for line in ["--http-path /a --type drop --type l7", "--http-path /a", "-t drop --not --http-path /a"] {
        assert!(of(line).is_ok(), "{line}");
    }
    let allow = of("--protocol gRPC --protocol kafka").unwrap().allow;
    assert_eq!(allow, [filter(|f| f.protocol = strings(&["grpc", "kafka"]))]);
}
