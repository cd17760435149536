//! A router at 192.168.7.1 that gives mappings by UPnP to 192.168.7.2, and has 203.0.113.8 on its outside.

use std::io::{Read, Write};

/// A router's answers by UPnP: who it is, what it can do, and what it was asked for.
fn gateway(request: &str) -> String {
    let envelope =
        |inner: &str| format!("<s:Envelope xmlns:s=\"e\"><s:Body>{inner}</s:Body></s:Envelope>");
    let action = |name: &str, args: &[&str]| {
        let args: String = args
            .iter()
            .map(|a| format!("<argument><name>{a}</name><direction>in</direction></argument>"))
            .collect();
        format!("<action><name>{name}</name><argumentList>{args}</argumentList></action>")
    };
    if request.starts_with("GET /root.xml ") {
        return "<root><device><serviceList><service>\
                <serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
                <SCPDURL>/scpd.xml</SCPDURL><controlURL>/control</controlURL>\
                </service></serviceList></device></root>"
            .into();
    }
    if request.starts_with("GET /scpd.xml ") {
        let mapping = action(
            "AddPortMapping",
            &[
                "NewRemoteHost",
                "NewExternalPort",
                "NewProtocol",
                "NewInternalPort",
                "NewInternalClient",
                "NewEnabled",
                "NewPortMappingDescription",
                "NewLeaseDuration",
            ],
        );
        return format!("<scpd><actionList>{mapping}</actionList></scpd>");
    }
    if request.contains("GetExternalIPAddress") {
        return envelope(
            "<u:GetExternalIPAddressResponse xmlns:u=\"u\"><NewExternalIPAddress>203.0.113.8</NewExternalIPAddress>\
             </u:GetExternalIPAddressResponse>",
        );
    }
    let is_it = [
        "<NewProtocol>UDP<",
        "<NewInternalClient>192.168.7.2<",
        "<NewLeaseDuration>1800<",
    ]
    .iter()
    .all(|part| request.contains(part));
    match is_it {
        true => envelope("<u:AddPortMappingResponse xmlns:u=\"u\"/>"),
        false => envelope(
            "<s:Fault><detail><UPnPError><errorCode>501</errorCode><errorDescription>no</errorDescription></UPnPError>\
             </detail></s:Fault>",
        ),
    }
}

/// Answers searches (UPnP Device Architecture section 1.3) and one request for each connection.
pub fn serve(search: std::net::UdpSocket, service: std::net::TcpListener) {
    std::thread::spawn(move || {
        let mut request = [0; 1100];
        while let Ok((_, from)) = search.recv_from(&mut request) {
            let answer = "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
                          LOCATION: http://192.168.7.1:5000/root.xml\r\n\r\n";
            let _ = search.send_to(answer.as_bytes(), from);
        }
    });
    for stream in service.incoming().flatten() {
        let mut stream = stream;
        let mut request = Vec::new();
        let mut some = [0; 4096];
        let is_whole = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.starts_with("GET") && text.contains("\r\n\r\n") || text.contains("</s:Envelope>")
        };
        while !is_whole(&request) {
            match stream.read(&mut some) {
                Ok(len) if len > 0 => request.extend_from_slice(&some[..len]),
                _ => break,
            }
        }
        let body = gateway(&String::from_utf8_lossy(&request));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all((head + &body).as_bytes());
    }
}
