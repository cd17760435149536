//! The topology, drawn from what the members say of themselves.

use crate::api::Snapshot;

/// A drawing of three members and their sessions.
pub(super) fn draw(members: &[Snapshot]) -> String {
    let link = |from: usize, to: &str| {
        let peers = members.get(from).into_iter().flat_map(|m| &m.peers);
        let up = peers.filter(|p| p.state == "up").any(|p| p.name == to);
        if up { "====" } else { "    " }
    };
    let suite = members
        .iter()
        .flat_map(|m| &m.peers)
        .find_map(|p| p.secrecy.suite.clone())
        .unwrap_or_default();
    let slash = if link(0, "c") == "====" { "//" } else { "  " };
    let backslash = if link(1, "c") == "====" { "\\\\" } else { "  " };
    format!(
        r"
     host A  10.77.0.1                        host B  10.77.0.2
       [l2lan]                                  [l2lan]
          |                                        |
      +---+----+                              +----+---+
      | l2vpn  |=============={0}=============| l2vpn  |
      +--------+   encrypted Ethernet frames  +--------+
              {1}   {3:^22}   {2}
               {1}                            {2}
                {1}        +--------+        {2}
                 {1}=======| l2vpn  |======={2}
                           +---+----+
                               |
                            [l2lan]
                     host C  10.77.0.3

     under it all: 192.0.2.0/24, UDP, MTU 1500
",
        link(0, "b"),
        backslash,
        slash,
        suite
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PeerView;

    #[test]
    fn only_sessions_that_are_there_are_drawn() {
        let member = |peers: &[&str]| Snapshot {
            peers: peers
                .iter()
                .map(|p| PeerView {
                    name: p.to_string(),
                    state: "up".into(),
                    ..PeerView::default()
                })
                .collect(),
            ..Snapshot::default()
        };
        let all = draw(&[
            member(&["b", "c"]),
            member(&["a", "c"]),
            member(&["a", "b"]),
        ]);
        assert!(all.contains("=======") && all.contains("//") && all.contains("\\\\"));
        let none = draw(&[
            Snapshot::default(),
            Snapshot::default(),
            Snapshot::default(),
        ]);
        assert!(!none.contains("//"));
    }
}
