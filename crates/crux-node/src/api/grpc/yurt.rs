//! `crux.v1.Yurt`: who heartbeats in ADMIN.

use crate::api::answer::Refusal;
use crate::api::{Door, show};
use crux_api::grpc::yurt_server::Yurt;
use crux_api::grpc::{Program, WhoReply, WhoRequest};
use tonic::{Request, Response, Status};

pub(super) struct YurtRpc(pub(super) Door);

#[tonic::async_trait]
impl Yurt for YurtRpc {
    async fn who(&self, _: Request<WhoRequest>) -> Result<Response<WhoReply>, Status> {
        let lines = self.0.asker.look(|engine, now| engine.program_lines(now.time)).await;
        let lines = lines.map_err(|_| Refusal::going_down())?;
        let program = |line| Program::heard(show::program(line), millis(line.heard));
        Ok(Response::new(WhoReply { programs: lines.iter().map(program).collect() }))
    }
}

fn millis(duration: crux_names::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
