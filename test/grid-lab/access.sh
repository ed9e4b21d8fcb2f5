# shellcheck shell=bash disable=SC2154
# Part of lab.sh: who may come in. A certificate authority with a host and a user certificate, keys for ssh, and for each
# account that plays the scientist a folder with files of its own; the web server.

make_credentials() {
	local authority=(arcctl test-ca --ca-dir "$lab/ca" --ca-id lab)
	mkdir -p "$lab/ca" "$lab/creds" "$lab/ssh"
	cd "$lab/creds" || return
	logged 'the certificate authority' "${authority[@]}" init -v 3650 -f
	logged 'the host certificate' "${authority[@]}" hostcert -n localhost -v 365 -f
	logged 'the user certificate' "${authority[@]}" usercert -n 'AppPot Tester' -v 365 --no-auth
	logged 'the host key' ssh-keygen -q -t ed25519 -N '' -f "$lab/ssh/hostkey"
	logged 'the key of the scientist' ssh-keygen -q -t ed25519 -N '' -C lab -f "$lab/ssh/id"
	cp "$lab/ssh/id.pub" "$lab/ssh/authorized_keys"
	chmod 644 "$lab/ssh/authorized_keys"
	make_client root
	! id apptest >/dev/null 2>&1 || make_client apptest
	cd /
}

# make_client ACCOUNT: certificate, proxy, ssh files that only this account can read.
make_client() {
	local folder=$lab/clients/$1
	mkdir -m 700 "$folder"
	cp "$lab"/creds/client-AppPot-Tester-cert.pem "$folder/cert.pem"
	cp "$lab"/creds/client-AppPot-Tester-key.pem "$folder/key.pem"
	cp "$lab/ssh/id" "$folder/id"
	printf '[localhost]:%s %s\n' "$ssh_port" "$(cut -d ' ' -f 1,2 "$lab/ssh/hostkey.pub")" >"$folder/known_hosts"
	cat >"$folder/ssh_config" <<END
Host lab
    HostName localhost
    Port $ssh_port
    User griduser
    IdentityFile $folder/id
    IdentitiesOnly yes
    UserKnownHostsFile $folder/known_hosts
    StrictHostKeyChecking yes
END
	HOME=$folder X509_USER_CERT=$folder/cert.pem X509_USER_KEY=$folder/key.pem X509_USER_PROXY=$folder/proxy.pem \
		X509_CERT_DIR=$lab/ca logged 'the proxy' arcproxy -c validityPeriod=24H
	chmod 600 "$folder"/*
	chown -R "$1:" "$folder"
}

start_sshd() {
	mkdir -p /run/sshd
	cat >"$lab/ssh/sshd_config" <<END
ListenAddress 127.0.0.1
Port $ssh_port
HostKey $lab/ssh/hostkey
PidFile $lab/run/sshd.pid
AuthorizedKeysFile $lab/ssh/authorized_keys
# The lab's folder lies below /tmp.
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers griduser
SetEnv SLURM_CONF=$lab/slurm/slurm.conf
Subsystem sftp internal-sftp
MaxStartups 100
LogLevel VERBOSE
END
	logged sshd "${clean[@]}" /usr/sbin/sshd -f "$lab/ssh/sshd_config" -E "$lab/log/sshd.log"
	listening "$ssh_port"
}

start_web() {
	# The lock of lab.sh up is not for a process that stays.
	"${clean[@]}" setsid node "$here/web.mjs" "$web_port" "$lab/www" "$lab/log/web.log" \
		>>"$lab/log/lab.log" 2>&1 </dev/null 9>&- &
	echo "$!" >"$lab/run/web.pid"
	listening "$web_port"
}
