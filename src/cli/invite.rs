//! `invite`: make, list and take back invitations, at a running admin.

use super::exit::{Exit, Failure};
use super::inviting::{InviteArgs, InviteVerb, NewInvite};
use super::member::{ask, unexpected};
use super::render::{print, print_all, say, span, table};
use crate::api::{Answer, InviteOrder, InviteView, Verb};

pub(super) fn run(args: &InviteArgs) -> Result<Exit, Failure> {
    match &args.verb {
        InviteVerb::Create(new) => create(new)?,
        InviteVerb::List { member, json } => {
            let Answer::Invites(invites) = ask(member, Verb::Invites)? else {
                return Err(unexpected());
            };
            list(&invites, *json)?;
        }
        InviteVerb::Revoke { named, member } => match ask(member, Verb::Uninvite(named.clone()))? {
            Answer::Uninvited(0) => {
                let message = format!("no open invitation has the name or id {named}");
                let hint = "`l2vpn invite list` lists them";
                return Err(Failure::with(Exit::Failed, message, hint));
            }
            Answer::Uninvited(count) => print(&format!("{count} taken back\n"))?,
            _ => return Err(unexpected()),
        },
    }
    Ok(Exit::Ok)
}

fn create(new: &NewInvite) -> Result<(), Failure> {
    let order = InviteOrder {
        name: new.name.clone(),
        segments: new.segment.clone(),
        vlans: new.vlan.clone(),
        roles: new.role.clone(),
        address: new.address.clone().unwrap_or_default(),
        days: new.days,
        ttl_s: new.ttl.as_secs(),
        uses: new.uses,
        places: new.endpoint.clone(),
    };
    let Answer::Invitation(text) = ask(&new.member, Verb::Invite(Box::new(order)))? else {
        return Err(unexpected());
    };
    say(&format!(
        "l2vpn: on the new machine: `l2vpn join`, and this; it is good for {} and {} machine{}\n",
        span(new.ttl.as_secs()),
        new.uses,
        if new.uses == 1 { "" } else { "s" }
    ));
    if new.qr {
        print_all(&qr(text.expose())?)?;
    }
    print(&format!("{}\n", text.expose()))
}

/// The text as a picture of letters.
fn qr(text: &str) -> Result<String, Failure> {
    use qrcode::render::unicode::Dense1x2;
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::L);
    let code = code.map_err(|e| Failure::failed(format!("no QR code can say that: {e}")))?;
    // Dark on light, as cameras want it, where terminals are light on dark.
    let picture = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    Ok(format!("{picture}\n"))
}

fn list(invites: &[InviteView], json: bool) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(invites);
        let text = text.map_err(|e| Failure::failed(e.to_string()))?;
        return print(&format!("{text}\n"));
    }
    let rows: Vec<Vec<String>> = invites
        .iter()
        .map(|i| {
            vec![
                i.id.clone(),
                i.name.clone(),
                i.segments.join(","),
                format!("{} of {}", i.taken, i.uses),
                i.state.clone(),
                span(i.left_s),
            ]
        })
        .collect();
    let header = ["id", "name", "segments", "used", "state", "left"];
    print(&table(&header, &rows))
}
