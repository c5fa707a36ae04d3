-- Tables as vpopmail 5.4 makes them for PostgreSQL, with rows as it writes them.
CREATE TABLE vpopmail (pw_name varchar(32) NOT NULL, pw_domain varchar(96) NOT NULL, pw_passwd varchar(40), pw_uid int4, pw_gid int4, pw_gecos varchar(48), pw_dir varchar(160), pw_shell varchar(20), pw_clear_passwd varchar(16), PRIMARY KEY (pw_domain, pw_name));
CREATE TABLE relay (ip_addr varchar(18) NOT NULL PRIMARY KEY, timestamp bigint);
CREATE TABLE lastauth (userid varchar(32) NOT NULL, domain varchar(96) NOT NULL, remote_ip varchar(18) NOT NULL, timestamp bigint DEFAULT 0 NOT NULL, PRIMARY KEY (userid, domain));
CREATE TABLE valias (alias varchar(32) NOT NULL, domain varchar(96) NOT NULL, valias_line varchar(160) NOT NULL);
CREATE INDEX valias_idx ON valias (alias, domain);
CREATE TABLE ip_alias_map (ip_addr varchar(18) NOT NULL PRIMARY KEY, domain varchar(96));
CREATE TABLE dir_control (domain varchar(96) NOT NULL, cur_users int4, level_cur int4, level_max int4, level_start0 int4, level_start1 int4, level_start2 int4, level_end0 int4, level_end1 int4, level_end2 int4, level_mod0 int4, level_mod1 int4, level_mod2 int4, level_index0 int4, level_index1 int4, level_index2 int4, the_dir varchar(160), PRIMARY KEY (domain));
CREATE TABLE limits (domain varchar(96) PRIMARY KEY, maxpopaccounts int NOT NULL DEFAULT -1, maxaliases int NOT NULL DEFAULT -1, maxforwards int NOT NULL DEFAULT -1, maxautoresponders int NOT NULL DEFAULT -1, maxmailinglists int NOT NULL DEFAULT -1, diskquota bigint NOT NULL DEFAULT 0, maxmsgcount bigint NOT NULL DEFAULT 0, defaultquota bigint NOT NULL DEFAULT 0, defaultmaxmsgcount bigint NOT NULL DEFAULT 0, disable_pop smallint NOT NULL DEFAULT 0, disable_imap smallint NOT NULL DEFAULT 0, disable_dialup smallint NOT NULL DEFAULT 0, disable_passwordchanging smallint NOT NULL DEFAULT 0, disable_webmail smallint NOT NULL DEFAULT 0, disable_relay smallint NOT NULL DEFAULT 0, disable_smtp smallint NOT NULL DEFAULT 0, disable_spamassassin smallint NOT NULL DEFAULT 0, delete_spam smallint NOT NULL DEFAULT 0, disable_maildrop smallint NOT NULL DEFAULT 0, perm_account smallint NOT NULL DEFAULT 0, perm_alias smallint NOT NULL DEFAULT 0, perm_forward smallint NOT NULL DEFAULT 0, perm_autoresponder smallint NOT NULL DEFAULT 0, perm_maillist smallint NOT NULL DEFAULT 0, perm_quota smallint NOT NULL DEFAULT 0, perm_defaultquota smallint NOT NULL DEFAULT 0);
INSERT INTO vpopmail VALUES ('postmaster','old.example','$1$abcdefgh$zyxwvutsrqponmlkjihgfe',1,0,'Postmaster','/home/vpopmail/domains/old.example/postmaster','NOQUOTA','chiave');
INSERT INTO vpopmail VALUES ('ann','old.example','$1$abcdefgh$0123456789abcdefghijkl',1,6,'Änn O''Brien','/home/vpopmail/domains/old.example/ann','5000000S,1000C','geheim');
INSERT INTO relay VALUES ('192.0.2.5', 1030000000);
INSERT INTO lastauth VALUES ('ann', 'old.example', '192.0.2.5', 1030000000);
INSERT INTO valias VALUES ('sales','old.example','&ann@old.example'),('sales','old.example','&bob@old.example');
INSERT INTO ip_alias_map VALUES ('192.0.2.80','old.example');
INSERT INTO dir_control VALUES ('old.example',2,0,3,0,0,0,61,61,61,0,2,4,0,0,0,'');
INSERT INTO limits (domain, maxpopaccounts, defaultquota, disable_imap) VALUES ('old.example', 25, 5000000, 1);
