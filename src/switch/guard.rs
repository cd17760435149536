//! Guards: DHCP servers and routers stay where the configuration puts them.

use crate::drops::DropReason;
use crate::wire::ethernet::Parts;
use crate::wire::service::{Service, Services};

/// Refuses a frame that offers a forbidden service. With nothing forbidden it is not looked at.
///
/// # Errors
/// Which it offers, or [`DropReason::GuardUnclear`] when that cannot be told.
pub fn check(forbidden: Services, frame: &Parts<'_>) -> Result<(), DropReason> {
    if forbidden == Services::NONE {
        return Ok(());
    }
    match Service::of(frame.after_tag()) {
        Service::DhcpServer if forbidden.dhcp_server => Err(DropReason::DhcpGuard),
        Service::Router if forbidden.router => Err(DropReason::RouterGuard),
        Service::Unclear => Err(DropReason::GuardUnclear),
        _ => Ok(()),
    }
}
