//! The page and MQTT: one thread with one runtime for both, started only when one of them is wanted.

use crate::web::{self, Limits, Site};
use crate::{mqtt, say};
use anyhow::Context;
use std::net::TcpListener;
use tokio::sync::watch;

/// What is to be served.
#[derive(Default)]
pub struct Services {
    /// The page.
    pub page: Option<(TcpListener, Site)>,
    /// The broker, and the results for it.
    pub broker: Option<(mqtt::Options, watch::Receiver<String>)>,
}

impl Services {
    /// Starts the thread; it ends with the program.
    ///
    /// # Errors
    /// When there is no thread or runtime to be had.
    pub fn start(self) -> anyhow::Result<()> {
        if self.page.is_none() && self.broker.is_none() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.context("cannot start the page's runtime")?;
        let work = move || {
            runtime.block_on(async move {
                let page = async {
                    if let Some((listener, site)) = self.page
                        && let Err(error) = web::serve(listener, site, Limits::default()).await
                    {
                        say(format!("the page is served no more: {error}"));
                    }
                };
                let broker = async {
                    if let Some((options, results)) = self.broker {
                        mqtt::serve(options, results, say).await;
                    }
                };
                tokio::join!(page, broker);
            });
        };
        std::thread::Builder::new().name("services".to_owned()).spawn(work).context("cannot start a thread")?;
        Ok(())
    }
}
