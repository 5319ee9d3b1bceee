#!/bin/bash
# Stands in for the original program's agent, made from its contract: `fireteact runner --log-level=info` reads the metadata
# of version 1 (no session token), writes act_runner's configuration where there is none, registers unless there is a
# `.runner`, runs the daemon for one job, and removes `.runner`. What it did is in /var/log/original-agent.
# STUBBORN, set by the image, makes it one of the older agents that always register.
work=/opt/act_runner
config=/etc/act_runner/config.yaml
log=/var/log/original-agent
stubborn=@STUBBORN@
say() { echo "$*" | tee -a "$log" >/dev/console; }

# One start of node, which costs seconds in an emulated guest: the fields by line, then the keys, then whether both trees agree.
read_metadata() {
  node -e '
    const read = async (tree) => {
      const options = { headers: { accept: "application/json" }, signal: AbortSignal.timeout(10_000) };
      return (await fetch(`http://169.254.169.254/${tree}/meta-data/fireteact`, options)).json();
    };
    Promise.all(["latest", "2009-04-04"].map(read)).then(([tree, other]) => {
      const { gitea_instance_url, registration_token, runner_name, runner_labels } = tree;
      for (const value of [gitea_instance_url, registration_token, runner_name]) if (!value) throw new Error("incomplete");
      console.log([gitea_instance_url, registration_token, runner_name, runner_labels].join("\n"));
      console.log(Object.keys(tree).sort().join(" "));
      console.log(JSON.stringify(tree) === JSON.stringify(other) ? "the same tree in both places" : "two trees");
    });'
}
until tree=$(read_metadata 2>/dev/null); do sleep 2; done
{ read -r url; read -r token; read -r name; read -r labels; read -r keys; read -r agreement; } <<<"$tree"
say "metadata: $keys"
say "$agreement"

as_runner() {
  cd $work && env -i PATH="$PATH" HOME=/home/runner USER=runner DOCKER_HOST=unix:///var/run/docker.sock \
    setpriv --reuid=runner --regid=docker --clear-groups -- "$@"
}
mkdir -p /etc/act_runner
[ -e $config ] || printf 'runner:\n  file: %s/.runner\n  capacity: 1\n  timeout: 3h\n' $work >$config
if [ -s $work/.runner ] && [ "$stubborn" != yes ]; then
  say "found .runner: $(stat -c '%U:%G %a' $work/.runner), directory $(stat -c '%U:%G %a' $work)"
else
  say "registering"
  as_runner act_runner register --no-interactive --instance "$url" --token "$token" --name "$name" --labels "$labels" ||
    { say "registration failed"; exit 1; }
fi
as_runner act_runner daemon --once -c $config
code=$?
rm -f $work/.runner
exit $code
