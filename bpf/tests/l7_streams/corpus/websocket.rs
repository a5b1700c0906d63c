//! WebSocket as browsers begin and end it.

use crate::dialogue::{Dialogue, Ending};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n";

fn begun(name: &str) -> Dialogue {
    Dialogue::tcp(format!("WebSocket: {name}"), 80).client(ASK).server(ACCEPT)
}

pub fn dialogues() -> Vec<Dialogue> {
    let hello = b"\x81\x85\x01\x02\x03\x04ignhn";
    let close = b"\x88\x82\0\0\0\0\x03\xe8";
    vec![
        begun("a word each").client(hello).server(b"\x81\x05hello").server(b"\x88\x02\x03\xe8").client(close),
        begun("closed without a reason").client(hello).client(b"\x88\x80\0\0\0\0").server(b"\x88\0"),
        begun("pings alone").server(b"\x89\0").client(b"\x8a\x80\x01\x02\x03\x04").ending(Ending::Reset),
        begun("nothing at all"),
        begun("the server speaks with its acceptance").server(b"\x82\x03abc").client(hello),
        begun("lengths in each form")
            .server(
                [&b"\x82\x7e\x00\x7e"[..], &[1; 126], b"\x82\x7f\0\0\0\0\0\0\x0f\xa0", &[2; 4000], b"\x82\0"]
                    .concat(),
            )
            .client(hello),
        begun("what goes on").client(hello).ending(Ending::Open),
    ]
}
