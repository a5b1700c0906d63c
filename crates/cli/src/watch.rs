//! `fathom watch peers`: the nodes an agent knows, as they come and go.

use std::io::Write;

use anyhow::Result;
use fathom_api::peer::peer_client::PeerClient;
use fathom_api::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest};
use tonic::Status;

use crate::connect::connect;
use crate::observe::drain::{Sink, drain};
use crate::settings::Settings;
use crate::terminal::escape::Escaped;

struct Lines<W: Write>(W);

impl<W: Write> Sink<ChangeNotification> for Lines<W> {
    fn take(&mut self, change: ChangeNotification) -> Result<()> {
        Ok(writeln!(self.0, "{}", line(&change))?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}

/// `PEER_ADDED   10.0.0.1:4244 node-1 (TLS.ServerName: x)`
fn line(change: &ChangeNotification) -> String {
    let kind = ChangeNotificationType::try_from(change.r#type)
        .map_or_else(|_| change.r#type.to_string(), |kind| kind.as_str_name().to_owned());
    let tls = match &change.tls {
        Some(tls) if !tls.server_name.is_empty() => {
            format!(" (TLS.ServerName: {})", Escaped(&tls.server_name))
        }
        _ => String::new(),
    };
    format!("{kind:<12} {} {}{tls}", Escaped(&change.address), Escaped(&change.name))
}

/// Runs until interrupted, or until the agent ends the stream.
pub async fn peers(settings: &Settings) -> Result<()> {
    let connection = connect(settings).await?;
    let failed = |status: &Status| connection.failed("peers (which an agent knows, not a relay)", status);
    let mut client = PeerClient::new(connection.channel.clone());
    let changes = client.notify(NotifyRequest {}).await.map_err(|status| failed(&status))?.into_inner();
    let mut lines = Lines(std::io::BufWriter::new(std::io::stdout().lock()));
    drain(changes, &mut lines, None, failed).await?;
    Ok(lines.0.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_api::peer::Tls;

    #[test]
    fn changes_are_one_line_each() {
        let change = ChangeNotification {
            name: "node-1".into(),
            address: "10.0.0.1:4244".into(),
            r#type: ChangeNotificationType::PeerAdded as i32,
            tls: Some(Tls { server_name: "node-1.default.fathom".into() }),
        };
        assert_eq!(
            line(&change),
            "PEER_ADDED   10.0.0.1:4244 node-1 (TLS.ServerName: node-1.default.fathom)"
        );
        let gone =
            ChangeNotification { r#type: ChangeNotificationType::PeerDeleted as i32, tls: None, ..change };
        assert_eq!(line(&gone), "PEER_DELETED 10.0.0.1:4244 node-1");
    }
}
