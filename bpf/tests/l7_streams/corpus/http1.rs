//! HTTP/1 as curl, wrk and people who read RFC 9112 closely would have it.

use crate::dialogue::{Dialogue, Ending};

fn tcp(name: &str) -> Dialogue {
    Dialogue::tcp(format!("HTTP/1: {name}"), 80)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n")
}

pub fn dialogues() -> Vec<Dialogue> {
    [simple(), bodies(), endings(), upgrades(), fields()].concat()
}

/// Many messages in one segment, as many as offloads bring together.
pub fn crowd(count: usize) -> Dialogue {
    let requests: String = (0..count).map(|n| get(&format!("/{n}"))).collect();
    let response = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\nContent-Type: text/plain\r\n\
                    Content-Length: 2\r\nConnection: keep-alive\r\n\r\nok";
    tcp(&format!("{count} at once")).client(requests).server(response.repeat(count))
}

fn simple() -> Vec<Dialogue> {
    vec![
        tcp("one exchange")
            .client("GET /a HTTP/1.1\r\nHost: web\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n\r\n")
            .server(OK),
        tcp("keep-alive")
            .client(get("/1"))
            .server(OK)
            .client(get("/2"))
            .server(OK)
            .client(get("/3"))
            .server(OK),
        tcp("a pipeline in one write").client(get("/1") + &get("/2") + &get("/3")).server([OK; 3].concat()),
        tcp("a pipeline, answers in parts")
            .client(get("/1") + &get("/2") + "GET /3 HT")
            .server(OK.to_owned() + "HTTP/1.1 2")
            .client("TP/1.1\r\n\r\n")
            .server("04 No Content\r\n\r\n")
            .server("HTTP/1.1 404 Not Found\r\nContent-Length:0\r\n\r\n"),
        tcp("HTTP/1.0 and no fields")
            .client("GET / HTTP/1.0\r\n\r\n")
            .server("HTTP/1.0 200 OK\r\n\r\nbody")
            .ending(Ending::ServerFin),
        tcp("a request without an answer").client(get("/slow")),
        tcp("a reset").client(get("/reset")).ending(Ending::Reset),
        tcp("no reason phrase")
            .client(get("/"))
            .server("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n")
            .client(get("/2"))
            .server(OK),
        tcp("absolute form").client("GET http://web/x?y#z HTTP/1.1\r\nHost: other\r\n\r\n").server(OK),
        tcp("asterisk form").client("OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n").server(OK),
        tcp("a method of its own").client("PROPFIND /dav HTTP/1.1\r\nHost: web\r\n\r\n").server(OK),
        tcp("every method").client(
            ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "HEAD"]
                .map(|method| format!("{method} /{method} HTTP/1.1\r\nHost: web\r\n\r\n"))
                .concat(),
        ),
    ]
}

fn bodies() -> Vec<Dialogue> {
    let post = |length: usize, body: &str| {
        format!("POST /p HTTP/1.1\r\nHost: web\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let chunked = "POST /c HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n";
    vec![
        tcp("a body by its length").client(post(5, "hello") + &get("/next")).server([OK; 2].concat()),
        tcp("a body that looks like a request").with_decoys().client(post(27, "GET /no HTTP/1.1\r\nHost: x\r\n") + &get("/yes")).server([OK; 2].concat()),
        tcp("a body of nothing").client(post(0, "") + &get("/next")).server([OK; 2].concat()),
        tcp("a body later than its head").client(post(4, "")).client("body").server(OK).client(get("/next")).server(OK),
        tcp("an answer before the body").client(post(8, "half")).server(OK).client("half").client(get("/next")).server(OK),
        tcp("100-continue")
            .client("PUT /u HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            .server("HTTP/1.1 100 Continue\r\n\r\n")
            .client("abc")
            .server(OK)
            .client(get("/next"))
            .server(OK),
        tcp("early hints").client(get("/")).server("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").server(OK).client(get("/2")).server(OK),
        tcp("chunks").client(chunked.to_owned() + "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n" + &get("/next")).server([OK; 2].concat()),
        tcp("chunks with extensions and trailers")
            .client(chunked.to_owned() + "a;x=\"y\"\r\n0\r\n\r\nGET /\r\n000;z\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n" + &get("/next"))
            .server([OK; 2].concat()),
        tcp("no chunk but the last").client(chunked.to_owned() + "0\r\n\r\n" + &get("/next")).server([OK; 2].concat()),
        tcp("chunked answer")
            .client(get("/1"))
            .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHTTP/\r\n")
            .server("5\r\n1.1 2\r\n0\r\n\r\n")
            .client(get("/2"))
            .server(OK),
        tcp("chunked counts, whatever the length says")
            .client("POST /s HTTP/1.1\r\nHost: web\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned() + &get("/next"))
            .server([OK; 2].concat()),
        tcp("chunked in a list of two fields")
            .client("POST /s HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned() + &get("/next"))
            .server([OK; 2].concat()),
        tcp("HEAD, 204 and 304 have no body")
            .client("HEAD /h HTTP/1.1\r\nHost: web\r\n\r\n".to_owned() + &get("/204") + &get("/304") + &get("/200"))
            .server("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
            .server("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n")
            .server(OK),
        tcp("HEAD of something chunked")
            .client("HEAD /h HTTP/1.1\r\nHost: web\r\n\r\n".to_owned() + &get("/next"))
            .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned() + OK),
        tcp("a large body").client(get("/big")).server(format!("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n{}", "x".repeat(20000))).client(get("/next")).server(OK),
        tcp("a length with zeros before it").client("POST /z HTTP/1.1\r\nContent-Length: 0000000003\r\n\r\nabc".to_owned() + &get("/next")).server([OK; 2].concat()),
    ]
}

fn endings() -> Vec<Dialogue> {
    vec![
        tcp("until close")
            .with_decoys()
            .client(get("/"))
            .server("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 500 part of it\r\n\r\n")
            .ending(Ending::ServerFin),
        tcp("a body that breaks off")
            .client(get("/"))
            .server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            .ending(Ending::ServerFin),
        tcp("a head that breaks off").client("GET /half HTTP/1.1\r\nHost: we").ending(Ending::Reset),
        tcp("not asked again after an error")
            .client(get("/1") + &get("/2"))
            .server("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nno")
            .ending(Ending::ServerFin),
    ]
}

fn upgrades() -> Vec<Dialogue> {
    let ask = "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let frame = [0x81u8, 0x85, 1, 2, 3, 4, b'h' ^ 1, b'e' ^ 2, b'l' ^ 3, b'l' ^ 4, b'o' ^ 1];
    vec![
        tcp("WebSocket")
            .client(ask)
            .server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            .client(frame)
            .server(b"\x81\x05hello")
            .server(b"\x88\x00")
            .client(b"\x88\x80\0\0\0\0"),
        tcp("an upgrade refused").client(ask).server(OK).client(get("/next")).server(OK),
        tcp("CONNECT").with_decoys()
            .client("CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n")
            .server("HTTP/1.1 200 Connection Established\r\n\r\n")
            .client(get("/inside"))
            .server(OK),
        tcp("CONNECT refused")
            .client("CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n")
            .server("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .client(get("/next"))
            .server(OK),
        tcp("an upgrade nobody asked for in words").with_decoys()
            .client("GET /x HTTP/1.1\r\nHost: web\r\nUpgrade: foo/2\r\nConnection: upgrade\r\n\r\n")
            .server("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo/2\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    ]
}

fn fields() -> Vec<Dialogue> {
    let long = |len: usize| "p".repeat(len);
    let mut all = vec![
        tcp("names that begin alike")
            .client("POST /f HTTP/1.1\r\nX-Host: no\r\nHosts: no\r\nHos: no\r\nContent-Lengthy: 9\r\nXContent-Length: 9\r\nContent-Length: 2\r\nHOST:yes\r\n\r\nab".to_owned() + &get("/next"))
            .server([OK; 2].concat()),
        tcp("space around values").client("GET / HTTP/1.1\r\nHost: \t  web \t \r\n\r\n".to_owned() + &get("/next")).server([OK; 2].concat()),
        tcp("trace context").client("GET / HTTP/1.1\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nHost: web\r\n\r\n").server(OK),
        tcp("an empty value").client("GET / HTTP/1.1\r\nX-Empty:\r\nX-Blank:   \r\nHost: web\r\n\r\n").server(OK),
        tcp("bytes above 127").client(b"GET /\xc3\xa4 HTTP/1.1\r\nHost: web\r\nX-Name: \xff\xfe\x80\r\n\r\n").server(OK),
        tcp("many fields").client(format!("GET /m HTTP/1.1\r\n{}Host: web\r\n\r\n{}", "X-Field: value value value\r\n".repeat(100), get("/next"))).server([OK; 2].concat()),
        tcp("an empty line before a request").client("\r\n".to_owned() + &get("/1") + "\r\n" + &get("/2")).server([OK; 2].concat()),
        tcp("a long method").client(format!("{} / HTTP/1.1\r\nHost: web\r\n\r\n", "M".repeat(20))).server(OK),
    ];
    for len in [250, 255, 256, 257, 300, 1000, 5000] {
        all.push(
            tcp(&format!("a path of {len}"))
                .client(format!("GET /{} HTTP/1.1\r\nHost: web\r\n\r\n{}", long(len - 1), get("/next")))
                .server([OK; 2].concat()),
        );
        all.push(
            tcp(&format!("a host of {len}"))
                .client(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n{}", long(len), get("/next")))
                .server([OK; 2].concat()),
        );
        all.push(
            tcp(&format!("a value of {len}"))
                .client(format!(
                    "GET / HTTP/1.1\r\nX-Long: {}\r\nHost: web\r\n\r\n{}",
                    long(len),
                    get("/next")
                ))
                .server([OK; 2].concat()),
        );
    }
    all
}
