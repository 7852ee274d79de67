//! What a program asks crux for: who is here, who leads, and word of it whenever that changes.
//!
//! ```console
//! $ cargo run -p crux-api --example confab -- http://127.0.0.1:2780     # the page's port: any program of this machine
//! $ cargo run -p crux-api --example confab -- /run/crux/crux.sock       # the local socket: its owner
//! $ cargo run -p crux-api --features tls --example confab -- n1.example:2789 ./alice    # the API port: an operator
//! ```

use crux_api::client::Client;
use crux_api::json::{Confab, ErrorDoc};

/// A client of the fulcrum that the words on the command line name.
fn client() -> Result<Client, ErrorDoc> {
    let mut words = std::env::args().skip(1);
    let at = words.next().unwrap_or_else(|| "http://127.0.0.1:2780".to_owned());
    match words.next() {
        #[cfg(feature = "tls")]
        Some(bundle) => Client::at_port(&at, bundle.as_ref()),
        #[cfg(not(feature = "tls"))]
        Some(_) => {
            let cause = "this was built without TLS";
            Err(ErrorDoc::new(crux_api::json::Code::NotYet, cause, "build it with --features tls"))
        }
        None if at.starts_with("http://") => Ok(Client::at_page(&at)),
        None => Ok(Client::new(at)),
    }
}

fn told(now: &Confab) -> String {
    let rest = if now.stable { "" } else { "; more may come" };
    format!("{} leads {}{rest}", now.leader, now.members.join(", "))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ErrorDoc> {
    let client = client()?;
    let now = client.confab().await?;
    println!("{} of bloc {}, in flock {}", now.node, now.bloc, now.flock);
    let mut views = client.follow_confab();
    loop {
        match views.next().await {
            Ok(now) => println!("{}", told(&now)),
            // Said once; the next call goes on trying, and a program goes on with what it knew.
            Err(lost) => eprintln!("{lost}; trying again"),
        }
    }
}
