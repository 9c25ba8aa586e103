# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a load balancer's configuration may say: a word that is not here is refused (`haproxy_guard`).

These are the words that the management server writes, and those of the manual (haproxy 2.6) that can neither
read nor write a file, start a program, open a socket but to the machines, nor change who the process is.
One line a keyword: where it may be, the keyword, and its arguments.

Where: `section` is a title; `global`, `userlist` and `cache` are sections, `proxy` is defaults, listen, frontend and
backend; `fetch` and `convert` are the names of sample expressions, which may end in `_beg` and its like; any other
is a group of options, which `{name}` asks for: as many of them as there are, in any order.

Arguments: small letters are themselves, `a|b` is one of them, `name(…)` has something in brackets; a question mark
makes a word optional; words in capitals are kinds of values (`haproxy_guard.VALUES`). TEXT is what haproxy sends,
compares or writes into its log, EXPR a sample expression, TESTS what follows an acl's name, IF a condition or nothing.
"""

from __future__ import annotations

WORDS = """\
section  global
section  defaults NAME? {from}
section  listen|frontend|backend NAME {from}
section  userlist|cache NAME
from     from NAME

global   log LOGGER {log} FACILITY LEVEL? LEVEL?
global   chroot /var/lib/haproxy
global   user|group haproxy
global   daemon
global   stats socket SOCKET {socket}
global   stats timeout TIME
global   stats maxconn NUMBER
socket   level user|operator|admin
socket   mode MODE
socket   user|group haproxy
socket   expose-fd listeners
log      len NUMBER
log      format local|rfc3164|rfc5424|priority|short|timed|iso
global   maxconn|maxpipes|maxconnrate|maxsessrate|maxsslconn|maxsslrate|maxcomprate|maxzlibmem NUMBER
global   ulimit-n|nbthread|maxcompcpuusage|spread-checks NUMBER
global   max-spread-checks|hard-stop-after|close-spread-time TIME
global   log-tag|node NAME
global   log-send-hostname NAME?
global   description TEXT
global   strict-limits|noepoll|nopoll|nosplice|nogetaddrinfo|noreuseport|busy-polling
global   no strict-limits
global   ssl-default-bind-ciphers|ssl-default-bind-ciphersuites|ssl-default-bind-curves CIPHERS
global   ssl-default-server-ciphers|ssl-default-server-ciphersuites CIPHERS
global   ssl-default-bind-options|ssl-default-server-options {tls}
global   ssl-server-verify none|required
global   tune.bufsize|tune.maxrewrite|tune.maxaccept|tune.maxpollevents|tune.recv_enough NUMBER
global   tune.http.maxhdr|tune.http.cookielen|tune.http.logurilen|tune.idletimer|tune.pipesize NUMBER
global   tune.rcvbuf.client|tune.rcvbuf.server|tune.sndbuf.client|tune.sndbuf.server NUMBER
global   tune.comp.maxlevel|tune.pattern.cache-size|tune.buffers.limit|tune.buffers.reserve NUMBER
global   tune.h2.header-table-size|tune.h2.initial-window-size|tune.h2.max-concurrent-streams NUMBER
global   tune.h2.max-frame-size|tune.pool-high-fd-ratio|tune.pool-low-fd-ratio NUMBER
global   tune.ssl.cachesize|tune.ssl.default-dh-param|tune.ssl.lifetime|tune.ssl.maxrecord SIZE
global   tune.ssl.ssl-ctx-cache-size|tune.ssl.capture-buffer-size|tune.vars.global-max-size SIZE
global   tune.vars.proc-max-size|tune.vars.reqres-max-size|tune.vars.sess-max-size|tune.vars.txn-max-size SIZE
tls      ssl-min-ver|ssl-max-ver SSLv3|TLSv1.0|TLSv1.1|TLSv1.2|TLSv1.3
tls      no-sslv3|no-tlsv10|no-tlsv11|no-tlsv12|no-tlsv13|no-tls-tickets|prefer-client-ciphers
tls      force-tlsv10|force-tlsv11|force-tlsv12|force-tlsv13

userlist group NAME {members}
userlist user NAME {account}
members  users NAMES
account  password|insecure-password TEXT
account  groups NAMES

cache    total-max-size|max-object-size|max-age|max-secondary-entries NUMBER
cache    process-vary on|off

proxy    mode tcp|http|health
proxy    log LOGGER {log} FACILITY LEVEL? LEVEL?
proxy    log global
proxy    no log
proxy    log-tag|id NAME
proxy    log-format|log-format-sd|error-log-format|unique-id-format TEXT
proxy    unique-id-header NAME
proxy    description TEXT
proxy    disabled|enabled
proxy    maxconn|fullconn|backlog|retries|max-keep-alive-queue NUMBER
proxy    rate-limit sessions NUMBER
proxy    timeout client|client-fin|connect|check|http-request|http-keep-alive|queue|server|server-fin TIME
proxy    timeout tarpit|tunnel TIME
proxy    clitimeout|srvtimeout|contimeout TIME
proxy    clitcpka-cnt|srvtcpka-cnt NUMBER
proxy    clitcpka-idle|clitcpka-intvl|srvtcpka-idle|srvtcpka-intvl TIME
proxy    bind PLACES {bind}
bind     ssl
bind     crt CERTIFICATE
bind     ca-file|crl-file|ca-verify-file CERTIFICATE
bind     verify none|optional|required
bind     ca-ignore-err|crt-ignore-err NAMES
bind     alpn|npn PROTOCOLS
bind     proto h1|h2
bind     ciphers|ciphersuites|curves|ecdhe CIPHERS
bind     ssl-min-ver|ssl-max-ver SSLv3|TLSv1.0|TLSv1.1|TLSv1.2|TLSv1.3
bind     no-sslv3|no-tlsv10|no-tlsv11|no-tlsv12|no-tlsv13|no-tls-tickets|prefer-client-ciphers
bind     force-tlsv10|force-tlsv11|force-tlsv12|force-tlsv13|strict-sni|no-ca-names|allow-0rtt
bind     accept-proxy|defer-accept|tfo
bind     name|id NAME
bind     maxconn|backlog|mss|nice|shards NUMBER
bind     tcp-ut TIME
proxy    balance roundrobin|static-rr|leastconn|first|source|random
proxy    balance random(…)|rdp-cookie|rdp-cookie(…)|hdr(…)
proxy    balance hdr(…) use_domain_only
proxy    balance uri {uri}
proxy    balance url_param NAME {param}
proxy    balance hash EXPR
uri      whole|path-only
uri      len|depth NUMBER
param    check_post NUMBER?
proxy    hash-type consistent|map-based sdbm|djb2|wt6|crc32|none? avalanche?
proxy    hash-balance-factor NUMBER
proxy    server NAME MACHINE {server}
proxy    default-server {server}
proxy    dispatch MACHINE
proxy    use-server TEXT IF
server   check|no-check|backup|no-backup|disabled|enabled|stick|non-stick|tfo|no-tfo
server   cookie TEXT
server   weight|rise|fall|maxconn|minconn|maxqueue|port|id|error-limit|max-reuse NUMBER
server   pool-max-conn|pool-low-conn NUMBER
server   inter|fastinter|downinter|slowstart|pool-purge-delay|tcp-ut|agent-inter TIME
server   addr|agent-addr MACHINE
server   agent-check|no-agent-check
server   agent-port NUMBER
server   agent-send TEXT
server   observe layer4|layer7
server   on-error fastinter|fail-check|sudden-death|mark-down
server   on-marked-down shutdown-sessions
server   on-marked-up shutdown-backup-sessions
server   track TRACKED
server   redir TEXT
server   proto|check-proto h1|h2
server   ws auto|h1|h2
server   send-proxy|send-proxy-v2|send-proxy-v2-ssl|send-proxy-v2-ssl-cn|no-send-proxy|no-send-proxy-v2
server   check-send-proxy|no-check-send-proxy
server   proxy-v2-options NAMES
server   ssl|no-ssl|check-ssl|no-check-ssl|ssl-reuse|no-ssl-reuse|allow-0rtt
server   verify none|required
server   verifyhost|check-sni NAME
server   sni EXPR
server   crt|ca-file|crl-file CERTIFICATE
server   alpn|npn|check-alpn PROTOCOLS
server   ciphers|ciphersuites CIPHERS
server   ssl-min-ver|ssl-max-ver SSLv3|TLSv1.0|TLSv1.1|TLSv1.2|TLSv1.3
server   no-sslv3|no-tlsv10|no-tlsv11|no-tlsv12|no-tlsv13|no-tls-tickets|tls-tickets
server   force-tlsv10|force-tlsv11|force-tlsv12|force-tlsv13
proxy    cookie TEXT {cookie}
cookie   rewrite|insert|prefix|indirect|nocache|postonly|preserve|httponly|secure|dynamic
cookie   domain|attr TEXT
cookie   maxidle|maxlife TIME
proxy    dynamic-cookie-key TEXT
proxy    appsession COOKIE {session}
session  len NUMBER
session  timeout TIME
session  prefix|request-learn
session  mode path-parameters|query-string
proxy    stick-table {table}
table    type ip|ipv6|integer
table    type string|binary {len}
len      len NUMBER
table    size SIZE
table    expire TIME
table    nopurge
table    srvkey addr|name
table    store NAMES
table    store STORED
proxy    stick on|match|store-request|store-response EXPR {of} IF
of       table NAME
proxy    acl NAME TESTS
proxy    use_backend TEXT IF
proxy    default_backend NAME
proxy    force-persist|ignore-persist|persist IF
proxy    persist rdp-cookie
proxy    persist rdp-cookie(…)
proxy    monitor-uri TEXT
proxy    monitor fail IF
proxy    stats enable|hide-version|show-node|show-legends|show-modules
proxy    stats show-desc TEXT
proxy    stats uri|realm|auth|scope TEXT
proxy    stats refresh TIME
proxy    stats admin IF
proxy    stats http-request allow|deny IF
proxy    stats http-request auth {realm} IF
realm    realm TEXT
proxy    compression algo|algo-res|type|type-res|offload {mime}
mime     MIME
proxy    filter compression
proxy    filter cache NAME
proxy    redirect location|prefix|scheme TEXT {redirect} IF
redirect code NUMBER
redirect drop-query|append-slash|ignore-empty
redirect set-cookie|clear-cookie TEXT
proxy    errorloc|errorloc302|errorloc303 NUMBER TEXT
proxy    http-error status NUMBER {return}
return   status NUMBER
return   content-type|string TEXT
return   lf-string TEXT
return   default-errorfiles
return   hdr NAME TEXT
proxy    retry-on RETRIES {retries}
retries  RETRIES
proxy    http-reuse never|safe|aggressive|always
proxy    declare capture request|response len NUMBER
proxy    capture request|response header NAME len NUMBER
proxy    capture cookie NAME len NUMBER

proxy    option forwardfor {forward}
proxy    option originalto {forward}
forward  except NETWORK
forward  header NAME
forward  if-none
proxy    option httpclose|forceclose|http-server-close|http-keep-alive|http-tunnel|dontlognull|redispatch
proxy    option redispatch NUMBER
proxy    option transparent|abortonclose|allbackups|checkcache|clitcpka|srvtcpka|tcpka|contstats
proxy    option accept-invalid-http-request|accept-invalid-http-response|disable-h2-upgrade|dontlog-normal
proxy    option http-buffer-request|http-ignore-probes|http-no-delay|http-pretend-keepalive
proxy    option http-use-proxy-header|http-use-htx|idle-close-on-response|independent-streams|log-health-checks
proxy    option log-separate-errors|logasap|nolinger|persist|prefer-last-server|socket-stats|splice-auto
proxy    option splice-request|splice-response|tcp-smart-accept|tcp-smart-connect|tcplog|httpslog
proxy    option h1-case-adjust-bogus-client|h1-case-adjust-bogus-server
proxy    option httplog clf?
proxy    option httpchk
proxy    option httpchk TEXT
proxy    option httpchk TEXT TEXT
proxy    option httpchk TEXT TEXT TEXT
proxy    option tcp-check|ldap-check|redis-check|ssl-hello-chk|spop-check
proxy    option smtpchk
proxy    option smtpchk TEXT NAME
proxy    option mysql-check {account-of}
proxy    option pgsql-check {account-of}
account-of user NAME
account-of post-41|pre-41

proxy    http-check disable-on-404|send-state
proxy    http-check comment TEXT
proxy    http-check send {send}
send     meth|uri|ver|body TEXT
send     uri-lf|body-lf TEXT
send     hdr NAME TEXT
proxy    http-check expect {expect}
proxy    http-check set-var(…) EXPR
proxy    http-check unset-var(…)
proxy    tcp-check comment TEXT
proxy    tcp-check send|send-binary TEXT {comment}
proxy    tcp-check send-lf|send-binary-lf TEXT {comment}
proxy    tcp-check expect {expect}
proxy    tcp-check set-var(…) EXPR
proxy    tcp-check unset-var(…)
proxy    http-check|tcp-check connect {connect}
comment  comment TEXT
connect  default|send-proxy|ssl|linger
connect  port NUMBER
connect  sni NAME
connect  alpn PROTOCOLS
connect  proto h1|h2
connect  comment TEXT
expect   !
expect   status|rstatus|string|rstring|binary|rbinary TEXT
expect   string-lf|binary-lf TEXT
expect   min-recv NUMBER
expect   comment TEXT
expect   ok-status|error-status|tout-status NAME
expect   on-success|on-error TEXT
expect   status-code EXPR

proxy    http-request|http-response|http-after-response add-header|set-header NAME TEXT IF
proxy    http-request|http-response|http-after-response del-header NAME {match} IF
match    -m str|beg|end|sub|reg
proxy    http-request|http-response|http-after-response replace-header|replace-value NAME TEXT TEXT IF
proxy    http-request|http-response|http-after-response allow IF
proxy    http-request|http-response|http-after-response strict-mode on|off IF
proxy    http-request|http-response|http-after-response set-var(…) EXPR IF
proxy    http-request|http-response|http-after-response set-var-fmt(…) TEXT IF
proxy    http-request|http-response|http-after-response unset-var(…) IF
proxy    http-request|http-response deny {deny} {return} IF
proxy    http-request tarpit {deny} {return} IF
deny     deny_status NUMBER
proxy    http-request|http-response return {return} IF
proxy    http-request auth {realm} IF
proxy    http-request reject|disable-l7-retry IF
proxy    http-request|http-response redirect location|prefix|scheme TEXT {redirect} IF
proxy    http-request replace-path|replace-pathq|replace-uri TEXT TEXT IF
proxy    http-request set-method|set-path|set-pathq|set-query|set-uri TEXT IF
proxy    http-response|http-after-response set-status NUMBER {reason} IF
reason   reason TEXT
proxy    http-request set-src|set-src-port EXPR IF
proxy    http-request set-timeout server|tunnel TIME IF
proxy    http-request|http-response set-log-level LEVEL IF
proxy    http-request|http-response|tcp-request|tcp-response silent-drop IF
proxy    http-request|http-response capture EXPR {capture} IF
capture  len|id NUMBER
proxy    http-request cache-use NAME IF
proxy    http-response cache-store NAME IF
proxy    http-request early-hint NAME TEXT IF
proxy    http-request normalize-uri NAME {uri-how} IF
uri-how  full|strict
proxy    http-request|http-response wait-for-body time TIME {at-least} IF
at-least at-least SIZE
proxy    http-request wait-for-handshake IF
proxy    http-request|http-response track-sc0|track-sc1|track-sc2 EXPR {of} IF
proxy    http-request|http-response sc-inc-gpc0(…)|sc-inc-gpc1(…)|sc-inc-gpc(…) IF
proxy    http-request|http-response sc-set-gpt0(…)|sc-set-gpt(…) NUMBER IF

proxy    tcp-request inspect-delay TIME
proxy    tcp-response inspect-delay TIME
proxy    tcp-request connection|session|content accept|reject|silent-drop IF
proxy    tcp-request connection expect-proxy layer4 IF
proxy    tcp-request connection|session|content track-sc0|track-sc1|track-sc2 EXPR {of} IF
proxy    tcp-request connection|session|content sc-inc-gpc0(…)|sc-inc-gpc1(…)|sc-inc-gpc(…) IF
proxy    tcp-request connection|session|content sc-set-gpt0(…)|sc-set-gpt(…) NUMBER IF
proxy    tcp-request connection|session|content set-var(…) EXPR IF
proxy    tcp-request connection|session|content set-var-fmt(…) TEXT IF
proxy    tcp-request connection|session|content unset-var(…) IF
proxy    tcp-request connection|session|content set-src|set-src-port EXPR IF
proxy    tcp-request content capture EXPR {capture} IF
proxy    tcp-request content switch-mode http {as} IF
as       proto h1|h2
proxy    tcp-response content accept|reject|close|silent-drop IF
proxy    tcp-response content set-var(…) EXPR IF
proxy    tcp-response content set-var-fmt(…) TEXT IF
proxy    tcp-response content unset-var(…) IF

fetch    always_false always_true avg_queue base base32 base32+src baseq bc_dst bc_dst_port bc_err bc_err_str
fetch    bc_http_major bc_src bc_src_port be_conn be_conn_free be_id be_name be_server_timeout be_sess_rate
fetch    be_tunnel_timeout bin bool capture.req.hdr capture.req.method capture.req.uri capture.req.ver capture.res.hdr
fetch    capture.res.ver connslots cook cookie cur_server_timeout cur_tunnel_timeout date date_us dst dst_conn
fetch    dst_is_local dst_port fc_dst fc_dst_is_local fc_dst_port fc_err fc_err_str fc_fackets fc_http_major fc_lost
fetch    fc_pp_authority fc_pp_unique_id fc_rcvd_proxy fc_reordering fc_retrans fc_rtt fc_rttvar fc_sacked fc_src
fetch    fc_src_is_local fc_src_port fc_unacked fe_client_timeout fe_conn fe_defbe fe_id fe_name fe_req_rate
fetch    fe_sess_rate hdr hostname http_auth http_auth_bearer http_auth_group http_auth_pass http_auth_type
fetch    http_auth_user http_first_req int ipv4 ipv6 meth method nbsrv path pathq payload payload_lv prio_class
fetch    prio_offset query queue rand rdp_cookie rep_ssl_hello_type req.body req.body_param req.body_size req.cook
fetch    req.fhdr req.hdr req.hdr_names req.hdrs req.hdrs_bin req.len req.payload req.payload_lv req.proto_http
fetch    req.rdp_cookie req.ssl_alpn req.ssl_ec_ext req.ssl_hello_type req.ssl_sni req.ssl_st_ext req.ssl_ver req.ver
fetch    req_len req_proto_http req_rdp_cookie req_ssl_hello_type req_ssl_sni req_ssl_ver req_ver res.body
fetch    res.body_size res.cache_hit res.cache_name res.comp res.comp_algo res.cook res.fhdr res.hdr res.hdr_names
fetch    res.hdrs res.hdrs_bin res.len res.payload res.payload_lv res.ssl_hello_type res.ver resp_ver sc_bytes_in_rate
fetch    sc_bytes_out_rate sc_clr_gpc sc_clr_gpc0 sc_clr_gpc1 sc_conn_cnt sc_conn_cur sc_conn_rate sc_get_gpc
fetch    sc_get_gpc0 sc_get_gpc1 sc_get_gpt sc_get_gpt0 sc_gpc0_rate sc_gpc1_rate sc_gpc_rate sc_http_err_cnt
fetch    sc_http_err_rate sc_http_fail_cnt sc_http_fail_rate sc_http_req_cnt sc_http_req_rate sc_inc_gpc sc_inc_gpc0
fetch    sc_inc_gpc1 sc_kbytes_in sc_kbytes_out sc_sess_cnt sc_sess_rate sc_tracked sc_trackers scook shdr so_id
fetch    so_name src src_bytes_in_rate src_bytes_out_rate src_clr_gpc src_clr_gpc0 src_clr_gpc1 src_conn_cnt
fetch    src_conn_cur src_conn_rate src_get_gpc src_get_gpc0 src_get_gpc1 src_get_gpt src_get_gpt0 src_gpc0_rate
fetch    src_gpc1_rate src_gpc_rate src_http_err_cnt src_http_err_rate src_http_fail_cnt src_http_fail_rate
fetch    src_http_req_cnt src_http_req_rate src_inc_gpc src_inc_gpc0 src_inc_gpc1 src_is_local src_kbytes_in
fetch    src_kbytes_out src_port src_sess_cnt src_sess_rate src_updt_conn_cnt srv_conn srv_conn_free srv_id srv_is_up
fetch    srv_iweight srv_name srv_queue srv_sess_rate srv_uweight srv_weight ssl_bc ssl_bc_alg_keysize ssl_bc_alpn
fetch    ssl_bc_cipher ssl_bc_err ssl_bc_err_str ssl_bc_is_resumed ssl_bc_npn ssl_bc_protocol ssl_bc_session_id
fetch    ssl_bc_unique_id ssl_bc_use_keysize ssl_c_ca_err ssl_c_ca_err_depth ssl_c_err ssl_c_i_dn ssl_c_key_alg
fetch    ssl_c_notafter ssl_c_notbefore ssl_c_s_dn ssl_c_serial ssl_c_sha1 ssl_c_sig_alg ssl_c_used ssl_c_verify
fetch    ssl_c_version ssl_f_i_dn ssl_f_key_alg ssl_f_notafter ssl_f_notbefore ssl_f_s_dn ssl_f_serial ssl_f_sha1
fetch    ssl_f_sig_alg ssl_f_version ssl_fc ssl_fc_alg_keysize ssl_fc_alpn ssl_fc_cipher ssl_fc_cipherlist_bin
fetch    ssl_fc_cipherlist_hex ssl_fc_cipherlist_str ssl_fc_cipherlist_xxh ssl_fc_ecformats_bin ssl_fc_eclist_bin
fetch    ssl_fc_err ssl_fc_err_str ssl_fc_extlist_bin ssl_fc_has_crt ssl_fc_has_early ssl_fc_has_sni ssl_fc_is_resumed
fetch    ssl_fc_npn ssl_fc_protocol ssl_fc_protocol_hello_id ssl_fc_session_id ssl_fc_sni ssl_fc_unique_id
fetch    ssl_fc_use_keysize ssl_s_i_dn ssl_s_key_alg ssl_s_notafter ssl_s_notbefore ssl_s_s_dn ssl_s_serial ssl_s_sha1
fetch    ssl_s_sig_alg ssl_s_version status stopping str table_avl table_cnt unique-id url url32 url32+src url_param
fetch    url_port urlp uuid var wait_end
convert  add add_item aes_gcm_dec and b64dec base64 be2dec be2hex bool bytes capture-req capture-res concat cpl crc32
convert  crc32c cut_crlf digest div djb2 even field hex hex2i hmac host_only htonl http_date iif in_table ipmask json
convert  json_query jwt_header_query jwt_payload_query language length lower ltime ltrim mod mul nbsrv neg not odd or
convert  port_only regsub rtrim sdbm secure_memcmp set-var sha1 sha2 srv_queue strcmp sub table_bytes_in_rate
convert  table_bytes_out_rate table_conn_cnt table_conn_cur table_conn_rate table_expire table_gpc table_gpc0
convert  table_gpc0_rate table_gpc1 table_gpc1_rate table_gpc_rate table_gpt table_gpt0 table_http_err_cnt
convert  table_http_err_rate table_http_fail_cnt table_http_fail_rate table_http_req_cnt table_http_req_rate table_idle
convert  table_kbytes_in table_kbytes_out table_server_id table_sess_cnt table_sess_rate table_trackers ub64dec ub64enc
convert  unset-var upper url_dec url_enc utime word xxh3 xxh32 xxh64
"""
