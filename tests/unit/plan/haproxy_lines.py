# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lines of haproxy's configuration: those the server writes, others that are harmless, and attacks by what they reach.

The first are every distinct line of the server's own drops; haproxy 2.6.12 takes the harmless ones.
"""

from __future__ import annotations

SERVER_GLOBAL = r"""
log 127.0.0.1:3914   local0 warning
maxconn 4096
maxpipes 1024
chroot /var/lib/haproxy
user haproxy
group haproxy
stats socket /run/haproxy/admin.sock
daemon
"""
SERVER_PROXY = r"""
log     global
mode    tcp
option  dontlognull
retries 3
option redispatch
option forwardfor
option httpclose
no option httpclose
option forceclose
no option forceclose
timeout connect    5000
timeout client     50000
timeout server     50000
bind 0.0.0.0:9
bind 192.0.2.11:80
bind 192.0.2.11:443 ssl crt /etc/cloudstack/ssl/192_0_2_11-443.pem alpn h2,http/1.1
bind 192.0.2.11:443 ssl crt /etc/cloudstack/ssl/192_0_2_11-443.pem ssl-min-ver TLSv1.2 no-tls-tickets
bind 192.0.2.11:443 ssl ciphers ECDHE-RSA-AES128-GCM-SHA256:AES256-GCM-SHA384 ciphersuites TLS_AES_128_GCM_SHA256
option transparent
balance leastconn
balance roundrobin
balance source
server 192_0_2_11-80_0 10.1.1.11:8080 check
server 192_0_2_11-80_0 10.1.1.11:8080 check cookie 192_0_2_11-80
server 192_0_2_11-80_0 10.1.1.11:8080 check send-proxy
server 192_0_2_11-80_0 10.1.1.11:8080 check ssl-min-ver TLSv1.2 no-tls-tickets
server 192_0_2_11-80_0 10.1.1.11:8080 check ciphers AES256-GCM-SHA384 ciphersuites TLS_AES_128_GCM_SHA256
http-request add-header X-Forwarded-Proto https
acl network_allowed src 203.0.113.0/24 198.18.0.0/15
tcp-request connection reject if !network_allowed
appsession JSESSIONID len 52 timeout 30m prefix request-learn mode path-parameters
appsession appcookie_192-80 len 52 timeout 3h
cookie JSESSIONID prefix
cookie SRV insert indirect nocache postonly domain .example.test
cookie lbcooki_192-80 insert
stick on src
stick-table type ip size 200k expire 30m
stats enable
stats uri     /admin?stats
stats realm   Haproxy\ Statistics
stats auth    admin1:AdMiN123
"""
MANUAL_GLOBAL = r"""
log /dev/log len 2048 format rfc5424 local0 info notice
stats socket /run/haproxy/admin.sock mode 660 level admin expose-fd listeners
stats socket /var/run/haproxy.socket
stats timeout 2m
nbthread 2
tune.bufsize 32768
tune.ssl.default-dh-param 2048
ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
hard-stop-after 30s
no strict-limits
# program
"""
MANUAL_PROXY = r"""
bind *:80
bind :80-90
bind ipv4@192.0.2.1:80,192.0.2.1:81 accept-proxy name in
bind [2001:db8::1]:80
server a 10.1.1.1 backup weight 10 maxconn 20 inter 2s fastinter 500ms rise 2 fall 3 slowstart 60s
server a ipv4@10.1.1.1:443 ssl verify none sni req.hdr(host) check-sni www.example.test track b/c
server a 10.1.1.1:443 ssl verify required ca-file /etc/cloudstack/ssl/a-443.pem on-marked-down shutdown-sessions
default-server inter 1s
balance uri whole
balance hdr(Host) use_domain_only
balance url_param user check_post 64
balance hash req.hdr(x-user),lower
hash-type consistent sdbm avalanche
http-request deny deny_status 429 if { sc_http_req_rate(0) gt 20 } !trusted || { path_beg -i /a /b } or FALSE
http-request deny unless { src 10.0.0.0/8 }
http-request return status 200 content-type text/plain string ok hdr X-A %[src] if { path /health }
http-request return status 200 content-type "text/plain" lf-string "you are %[src] of %{+X}o %ci"
http-request set-header X-Real-IP %[src,ipmask(24)] if { ssl_fc }
http-request set-header X "%[req.hdr(a),regsub('^(.*)-b','\1',g)]-%[date(0),http_date]"
http-request del-header X-Secret -m beg
http-request replace-path /old/(.*) /new/\1 if { path_beg /old }
http-request redirect scheme https code 301 unless { ssl_fc }
http-request track-sc0 src table st
http-request set-var(txn.host) req.hdr(host),lower if { path -m reg ^/(a|b)/ }
http-request set-var-fmt(txn.id) %[src]:%[dst_port]
http-request auth realm Private if !{ http_auth(users) }
http-response set-header Strict-Transport-Security "max-age=16000000; includeSubDomains; preload;"
http-after-response set-status 503 reason "Slow Down"
redirect prefix https://www.example.test drop-query if { hdr(host) -i example.test }
use_backend b_%[req.hdr(host),lower] if { nbsrv(b) ge 1 }
use_backend static unless { path_end .png .jpg }
default_backend web
capture request header User-Agent len 100
stick store-request req.cook(S),lower table st if { src 10.0.0.1 }
stick-table type string len 64 size 1m expire 1h store gpc0,conn_rate(30s),http_req_rate(10s)
option httpchk GET /health HTTP/1.1\r\nHost:\ www.example.test
option forwardfor except 127.0.0.0/8 header X-Client if-none
option mysql-check user haproxy post-41
http-check send meth GET uri /health ver HTTP/1.1 hdr Host www.example.test body x
http-check expect ! rstatus ^5
tcp-check connect port 6379 ssl alpn h2
tcp-check send PING\r\n
tcp-check expect string +PONG comment "it lives"
tcp-request inspect-delay 5s
tcp-request content accept if { req.ssl_hello_type 1 }
tcp-request connection track-sc1 src
compression algo gzip deflate
compression type text/html text/plain application/json
filter compression
errorloc 503 https://www.example.test/sorry
http-error status 503 content-type text/html string "<h1>#sorry</h1>"
log-format "%ci:%cp [%tr] %ft %b/%s %ST %B %{+Q}r %[ssl_fc_sni]"
retry-on conn-failure 503
timeout http-request 10s
timeout tunnel 1h
fullconn 1000
rate-limit sessions 100
monitor-uri /haproxy_test
monitor fail if { nbsrv(web) lt 1 }
stats admin if { src 10.0.0.0/8 }
acl url_static path_beg -i /static /images
acl big req.body_size gt 1000
acl named hdr_dom(host) -i example.test
acl words path_sub -i -- -x
"""
FILES = [
    "http-request return status 200 content-type text/plain file /etc/shadow",
    "http-request return lf-file /etc/cloudstack/cmdline.json",
    "http-response return status 200 errorfiles mine",
    "http-response return status 200 errorfile /etc/shadow",
    "http-request deny deny_status 403 errorfile /etc/shadow",
    "http-request deny content-type text/plain lf-file /etc/shadow",
    "http-request tarpit file /etc/shadow",
    "http-error status 503 file /etc/shadow",
    "errorfile 503 /etc/shadow",
    "errorfiles mine",
    "load-server-state-from-file local",
    "server-state-file-name a",
    "acl x src -f /etc/shadow",
    "acl x src -i -f /etc/shadow",
    "acl x src -M -f /etc/shadow",
    "acl x path -m str -f /etc/shadow",
    "acl x src map_ip(/etc/shadow) 1",
    "acl x src ,map_ip(/etc/shadow) 1",
    "acl x src,lower map_str_int(/etc/shadow) 1",
    "acl x src,map(/etc/shadow) -m found",
    "http-request deny if { src -f /etc/shadow }",
    "http-request deny if TRUE !{ src map_ip(/etc/shadow) 1 }",
    "stick on src,map(/etc/shadow)",
    "stick on src map(/etc/shadow)",
    "use_backend %[src,map(/etc/shadow)]",
    "http-request set-header X %[req.hdr(a),lower,map_beg(/etc/shadow,none)]",
    "http-request set-header X ok%{+Q}[src,map(/etc/shadow)]",
    "http-request set-header X %(name)[src,map(/etc/shadow)]",
    "http-request return string ok hdr X %[path,map_reg(/etc/shadow)]",
    "http-request set-var(txn.x) src,map(/etc/shadow)",
    "http-request set-header X %[str(a),jwt_verify(RS256,/etc/ssl/key.pem)]",
    'http-request set-header X "%[str(\\"a),map(/etc/shadow)]"',
    "log-format %[src,map(/etc/shadow)]",
    "http-request set-map(/run/x) a b",
    "http-request add-acl(/run/x) a",
    "http-request del-acl(/run/x) a",
    "balance hash src,map(/etc/shadow)",
    "server a 10.1.1.1:1 sni src,map(/etc/shadow)",
    "server a 10.1.1.1:1 ssl crt /etc/shadow",
    "server a 10.1.1.1:1 ssl ca-file /etc/cloudstack/ssl/../../shadow",
    "bind 192.0.2.1:443 ssl crt /etc/cloudstack/ssl/../x.pem",
    "bind 192.0.2.1:443 ssl crt /etc/cloudstack/ssl/",
    "bind 192.0.2.1:443 ssl crt a.pem",
    "bind 192.0.2.1:443 ssl crt-list /etc/cloudstack/ssl/a.pem",
    "bind 192.0.2.1:443 ssl tls-ticket-keys /etc/shadow",
    "bind 192.0.2.1:443 ssl crt /etc/cloudstack/ssl/a.pem ca-sign-file /etc/shadow",
    "bind 192.0.2.1:443 ssl crl-file /etc/shadow",
]
PROGRAMS = [
    "http-request lua.x",
    "http-request use-service lua.x",
    "http-request use-service prometheus-exporter if { path /metrics }",
    "tcp-request content use-service lua.x",
    "http-request set-header X %[lua.x]",
    "http-request set-header X %[src,lua.x]",
    "http-request set-header X %[env(PATH)]",
    "acl x env(PATH) -m found",
    "option external-check",
    "external-check command /bin/sh",
    "external-check path /bin",
    "filter spoe engine e config /etc/shadow",
    "filter trace",
    "filter opentracing config /etc/shadow",
    "http-request send-spoe-group a b",
    "use-fcgi-app x",
]
SOCKETS = [
    "bind unix@/etc/x",
    "bind /etc/x",
    "bind 192.0.2.1:80,/etc/x",
    "bind abns@x",
    "bind fd@3",
    "bind sockpair@3",
    "bind udp@192.0.2.1:80",
    "bind quic4@192.0.2.1:80",
    "bind ${HOME}:80",
    "bind 127.1:80",
    "bind :::80",
    "bind [::]:80 v4v6",
    "bind 192.0.2.1:80 interface eth0",
    "bind 192.0.2.1:80 namespace x",
    "bind 192.0.2.1:80 uid 0",
    "bind 192.0.2.1:80 user root mode 666",
    "bind 192.0.2.1:80 transparent",
    "bind 192.0.2.1:80 expose-fd listeners",
    "bind 192.0.2.1:80 level admin",
    "server a unix@/run/cloudstack/converge.sock",
    "server a /run/cloudstack/converge.sock",
    "server a abns@x",
    "server a fd@3",
    "server a localhost:22",
    "server a www.example.test:80",
    "server a ${HOME}:80",
    "server a 127.0.0.1:22",
    "server a 127.1:22",
    "server a 0.0.0.0:0",
    "server a 169.254.169.254:80",
    "server a 192.0.2.1:3922",
    "server a 224.0.0.1:1",
    "server a 10.1.1.1:80 namespace x",
    "server a 10.1.1.1:80 socks4 203.0.113.1:1080",
    "server a 10.1.1.1:80 resolvers r",
    "server a 10.1.1.1:80 source 192.0.2.1 interface eth0",
    "server a 10.1.1.1:80 source 0.0.0.0 usesrc clientip",
    "server a 10.1.1.1:80 check addr 127.0.0.1",
    "server a 10.1.1.1:80 agent-check agent-addr 192.0.2.1",
    "server-template a 1-3 www.example.test:80",
    "default-server resolvers r",
    "dispatch 127.0.0.1:22",
    "source 203.0.113.9",
    "tcp-check connect addr 127.0.0.1 port 22",
    "tcp-check connect unix@/run/x",
    "http-check connect addr 169.254.169.254",
    "http-request do-resolve(txn.ip,r) hdr(host)",
    "http-request set-dst str(127.0.0.1)",
    "http-request set-dst-port int(22)",
    "tcp-request content set-dst str(127.0.0.1)",
    "option http_proxy",
    "email-alert mailers m",
    "log 203.0.113.9:514 local0",
    "log 127.0.0.1.example.test:514 local0",
    "log /run/cloudstack/converge.sock local0",
    "log stdout local0",
    "log ring@r local0",
    "log fd@3 local0",
    "http-request set-mark 1",
]
GLOBAL = [
    *("lua-load /tmp/x.lua", "lua-load-per-thread /tmp/x.lua", "lua-prepend-path /tmp/?", "external-check"),
    *(
        "insecure-fork-wanted",
        "insecure-setuid-wanted",
        "ssl-engine rdrand",
        "ssl-provider x",
        "ssl-provider-path /tmp",
    ),
    *("user root", "group root", "uid 0", "gid 0", "chroot /", "chroot /var/lib/haproxy/..", "pidfile /etc/x"),
    *("setenv A b", "presetenv A b", "resetenv", "unsetenv A", "set-var proc.x env(PATH)", "server-state-base /etc"),
    *(
        "server-state-file /etc/shadow",
        "h1-case-adjust-file /etc/shadow",
        "h1-case-adjust a b",
        "ca-base /",
        "crt-base /",
    ),
    *("ssl-dh-param-file /etc/shadow", "issuers-chain-path /etc", "default-path config", "wurfl-data-file /etc/shadow"),
    *("51degrees-data-file /etc/shadow", "deviceatlas-json-file /etc/shadow", "unix-bind user root", "nbproc 4"),
    *("stats socket /etc/cloudstack/ips.json", "stats socket /run/haproxy/../cloudstack/converge.sock"),
    *("stats socket /run/haproxy/admin.sock mode 666", "stats socket ipv4@192.0.2.1:9999 level admin"),
    *("stats socket abns@x", "stats socket fd@3", "stats socket /run/haproxy-master.sock", "stats bind-process 1"),
    *("stats socket /run/haproxy/admin.sock user root", "log 203.0.113.9:514 local0", "localpeer a"),
    *("httpclient.ssl.ca-file /etc/shadow", "tune.lua.maxmem 1", "tune.ssl.keylog on", "thread-groups 2", "quiet x"),
    *("ssl-load-extra-files all", "cpu-map 1 1", "grace 1", "master-worker", "mworker-max-reloads 1", "zero-warning"),
]
SECTIONS = [
    *("program spy", "peers p", "resolvers r", "mailers m", "ring r", "http-errors e", "fcgi-app a", "log-forward f"),
    *("crt-store s", "traces", "log-profile p", ".if defined(HOME)", ".include /etc/shadow", ".notice x", ".endif"),
    *('"program" spy', "pro\\gram spy", "'listen' a", "listen\\x20a", "\x01listen a", "cache a b", "userlist /etc/x"),
]
