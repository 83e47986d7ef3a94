//go:build compose

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What follows needs root, a container engine and Compose, so it is compiled for `make compose-test` only. It runs
// docs/containers.md and docs/using-from-other-languages.md block by block, and looks at what a reader does not see.

var composeMembers = map[string]int{"alpha": 7444, "bravo": 7454, "charlie": 7464} // with the ports for their people

const (
	composeHealthy = 20 * time.Second // from `up` until all nodes are healthy
	composeImage   = 60 << 20         // bytes of the image
	composeAll     = 10 * time.Minute // for everything; it takes one or two
	composeStep    = 90 * time.Second // for one block or command
)

// TestComposeWithoutEngine: a sentence and a hint, at once.
func TestComposeWithoutEngine(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := composeReady(ctx, append(os.Environ(), "DOCKER_HOST=unix:///nowhere/docker.sock"))
	if err == nil || !strings.HasPrefix(err.Error(), "no container engine answers") || !strings.Contains(err.Error(), "\nhint: ") {
		t.Errorf("without an engine: %v", err)
	}
}

// TestComposePortInUse: the same, before anything is built or started.
func TestComposePortInUse(t *testing.T) {
	l, err := net.Listen("tcp", address("127.0.0.1", composeMembers["bravo"]))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = composeReady(t.Context(), os.Environ())
	if err == nil || !strings.HasPrefix(err.Error(), "port 7454, for the people of bravo, is in use\nhint: ") {
		t.Errorf("with a port in use: %v", err)
	}
}

// composeReady tells in a sentence and a hint why the test cannot run here.
func composeReady(ctx context.Context, env []string) error {
	look := func(name string, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = env
		cmd.WaitDelay = time.Second
		return cmd.CombinedOutput()
	}
	if _, err := exec.LookPath("docker"); err != nil {
		return errors.New("there is no docker here\nhint: apt-get install docker.io docker-compose")
	}
	if said, err := look("docker", "version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("no container engine answers: %s\nhint: start it with: systemctl start docker, or name another with DOCKER_HOST", bytes.TrimSpace(said))
	}
	if os.Geteuid() != 0 {
		return errors.New("only root can record the traffic between containers\nhint: sudo make compose-test")
	}
	for member, port := range composeMembers {
		l, err := net.Listen("tcp", address("127.0.0.1", port))
		if err != nil {
			return fmt.Errorf("port %d, for the people of %s, is in use\nhint: stop what listens there; ss -ltnp shows it, docker ps if it is a container", port, member)
		}
		l.Close()
	}
	return nil
}

// composed is a project of its own, with a folder in which a person works.
type composed struct {
	*testing.T
	ctx     context.Context
	env     []string
	dir     string
	project string
}

// compose prepares a project and has it removed in the end, come what may.
func compose(t *testing.T) *composed {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(ctx, composeAll)
	t.Cleanup(cancel)
	if err := composeReady(ctx, os.Environ()); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	c := &composed{T: t, ctx: ctx, dir: t.TempDir(), project: "entente-test-" + strconv.Itoa(os.Getpid())}
	path := filepath.Join(root, "bin") + ":" + os.Getenv("PATH")
	if exec.CommandContext(ctx, "docker", "compose", "version").Run() != nil {
		path = c.composeV1() + ":" + path
	}
	c.env = append(os.Environ(), "PATH="+path, "COMPOSE_FILE="+filepath.Join(root, "docker-compose.yml"), "COMPOSE_PROJECT_NAME="+c.project,
		"ENTENTE_TARGET=prebuilt", "ENTENTE_IMAGE="+c.project, "ENTENTE_HOME=")
	t.Cleanup(c.remove)
	return c
}

// composeV1 makes a `docker` that has `docker compose` where only version 1 of Compose is installed.
func (c *composed) composeV1() string {
	docker, err := exec.LookPath("docker")
	v1, err1 := exec.LookPath("docker-compose")
	if err := errors.Join(err, err1); err != nil {
		c.Fatalf("there is no Compose here: %v\nhint: apt-get install docker-compose", err)
	}
	dir := c.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = compose ]; then shift; exec %s --ansi never \"$@\"; fi\nexec %s \"$@\"\n", v1, docker)
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
		c.Fatal(err)
	}
	return dir
}

// remove takes everything down, also after an interruption, and looks whether anything is left.
func (c *composed) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), composeStep)
	defer cancel()
	if c.Failed() {
		said, _ := c.try(ctx, "docker compose ps; docker compose logs --tail 40")
		c.Logf("when it failed:\n%s", said)
	}
	if said, err := c.try(ctx, "docker compose down --volumes --remove-orphans --rmi all --timeout 5"); err != nil {
		c.Errorf("take everything down: %v\n%s", err, said)
	}
	left, err := c.try(ctx, "docker ps -aq --filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME;"+
		"docker volume ls -q --filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME;"+
		"docker network ls -q --filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME;"+
		"docker images -q $ENTENTE_IMAGE")
	if err != nil || left != "" {
		c.Errorf("this is left: %s %v", left, err)
	}
}

// try runs a script in the person's folder, and ends all of it when ctx ends.
func (c *composed) try(ctx context.Context, script string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = c.dir, c.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not end in time: %w", err)
	}
	return string(said), err
}

// step is try within the bound of a step.
func (c *composed) step(script string) (string, error) {
	ctx, cancel := context.WithTimeout(c.ctx, composeStep)
	defer cancel()
	return c.try(ctx, script)
}

// sh runs a script that must succeed.
func (c *composed) sh(script string) string {
	c.Helper()
	said, err := c.step(script)
	if err != nil {
		c.Fatalf("%s\n%s%v", script, said, err)
	}
	return said
}

// failing runs a script that must fail, in a step's time.
func (c *composed) failing(script string) string {
	c.Helper()
	said, err := c.step(script)
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() < 0 {
		c.Fatalf("%s\n%sit must fail by itself, and gave: %v", script, said, err)
	}
	return said
}

// says fails the test unless what was said matches.
func (c *composed) says(said, pattern string) {
	c.Helper()
	if !regexp.MustCompile("(?m)" + pattern).MatchString(said) {
		c.Fatalf("nothing matches %q in:\n%s", pattern, said)
	}
}

// blocks reads the blocks of a page: what stands after ```sh, and the script.
func (c *composed) blocks(page string) (names, scripts []string) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	if err != nil {
		c.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```sh ?([a-z]*)\n(.*?)^```$").FindAllSubmatch(text, -1) {
		names, scripts = append(names, string(m[1])), append(scripts, string(m[2]))
	}
	if len(names) < 8 || len(names) != bytes.Count(text, []byte("\n```"))/2 {
		c.Fatalf("%s has %d blocks that can be run", page, len(names))
	}
	return names, scripts
}

// TestCompose is the life of three members in containers.
func TestCompose(t *testing.T) {
	c := compose(t)
	started := time.Now()
	c.sh("docker compose build")
	t.Logf("built in %v", time.Since(started).Round(time.Millisecond))
	size, err := strconv.Atoi(strings.TrimSpace(c.sh("docker image inspect -f '{{.Size}}' $ENTENTE_IMAGE")))
	if err != nil || size > composeImage {
		t.Errorf("the image has %d bytes, at most %d are allowed (%v)", size, composeImage, err)
	}
	t.Logf("the image has %.1f MB", float64(size)/1e6)

	names, scripts := c.blocks("containers.md")
	run := func(name string) string {
		t.Helper()
		i := slices.Index(names, name)
		if i < 0 {
			t.Fatalf("docs/containers.md has no block %q", name)
		}
		began := time.Now()
		said := c.sh(scripts[i])
		t.Logf("%s: %v", name, time.Since(began).Round(time.Millisecond))
		return said
	}

	started = time.Now()
	run("up")
	c.healthy(started.Add(composeHealthy))
	t.Logf("healthy %v after up", time.Since(started).Round(time.Millisecond))
	c.confined()

	run("people")
	c.recorded(func() { run("send") })
	if said := run("cut"); !regexp.MustCompile(`(?m)^state +(queued|delivering)`).MatchString(said) {
		t.Errorf("what is sent to a member that is cut off must wait:\n%s", said)
	}
	if said, err := c.step(`entente show "$(cat waiting)" --home people/bravo`); err == nil {
		t.Errorf("bravo has a document that cannot have reached it:\n%s", said)
	}
	run("heal")
	c.says(c.sh(`entente show "$(cat waiting)" --home people/bravo`), "^state +stored")
	c.says(run("restart"), "TLP:AMBER +stored")

	page, languages := c.blocks("using-from-other-languages.md")
	for i, script := range languages {
		if page[i] == "fails" {
			c.says(c.failing(script), "ceiling|tls:|EOF|deadline|connection error")
		} else {
			c.sh(script)
		}
	}
	if b, err := os.ReadFile(filepath.Join(c.dir, "hello.txt")); err != nil || string(b) != "Hello, bravo.\n" {
		t.Errorf("grpcurl opened %q %v", b, err)
	}
	run("audit")
	c.mistakes()
	run("down")
	c.says(c.sh("docker volume ls -q --filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME; echo nothing"), "\\Anothing\n\\z")
}

// healthy waits for all nodes.
func (c *composed) healthy(deadline time.Time) {
	c.Helper()
	for {
		said := c.sh("docker inspect -f '{{.State.Health.Status}}' $(docker compose ps -q alpha bravo charlie)")
		if said == "healthy\nhealthy\nhealthy\n" {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("not healthy in time:\n%s", said)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// confined looks at what the engine says of every container.
func (c *composed) confined() {
	for member, port := range composeMembers {
		var list []struct {
			Config struct {
				User string
				Env  []string
			}
			HostConfig struct {
				ReadonlyRootfs, Privileged   bool
				CapAdd, CapDrop, SecurityOpt []string
				Tmpfs                        map[string]string
			}
			Mounts          []struct{ Name, Destination string }
			NetworkSettings struct {
				Ports    map[string][]struct{ HostIP, HostPort string }
				Networks map[string]any
			}
		}
		if err := json.Unmarshal([]byte(c.sh("docker inspect $(docker compose ps -q "+member+")")), &list); err != nil || len(list) != 1 {
			c.Fatalf("inspect %s: %d containers, %v", member, len(list), err)
		}
		i := list[0]
		h := i.HostConfig
		if i.Config.User != "65532:65532" || !h.ReadonlyRootfs || h.Privileged || len(h.CapAdd) > 0 || !slices.Equal(h.CapDrop, []string{"ALL"}) ||
			!slices.Contains(h.SecurityOpt, "no-new-privileges:true") || len(h.Tmpfs) != 1 {
			c.Errorf("%s is not confined: %+v", member, i)
		}
		if len(i.Mounts) != 1 || i.Mounts[0].Name != c.project+"_"+member || i.Mounts[0].Destination != "/entente" {
			c.Errorf("%s must see its own volume and no other: %+v", member, i.Mounts)
		}
		bound := i.NetworkSettings.Ports[fmt.Sprintf("%d/tcp", port)]
		if len(i.NetworkSettings.Ports) != 1 || len(bound) != 1 || bound[0].HostIP != "127.0.0.1" || bound[0].HostPort != strconv.Itoa(port) {
			c.Errorf("%s must be published on loopback only: %+v", member, i.NetworkSettings.Ports)
		}
		for network := range i.NetworkSettings.Networks {
			if !strings.Contains(network, member) {
				c.Errorf("%s is in the network %s", member, network)
			}
		}
		if said := c.failing("docker compose exec -T " + member + " sh -c true"); !strings.Contains(said, "executable file not found") {
			c.Errorf("%s has a shell: %s", member, said)
		}
	}
}

// recorded records what passes between alpha and bravo while something is sent, that something and a larger document.
func (c *composed) recorded(send func()) {
	canary := "canary-" + rand.Text()
	content := make([]byte, 300_000)
	_, _ = rand.Read(content)
	content = append(content, canary...)
	if err := os.WriteFile(filepath.Join(c.dir, canary+".bin"), content, 0o600); err != nil {
		c.Fatal(err)
	}
	id := strings.TrimSpace(c.sh("docker network inspect -f '{{.Id}}' ${COMPOSE_PROJECT_NAME}_alpha-bravo"))
	tape := record(c.T, "br-"+id[:12])
	send()
	c.sh("entente send " + canary + ".bin --home people/alpha --to bravo --agreement harbour-watch --purpose exercise --label TLP:GREEN --wait")
	tape.end()
	tape.check(len(content), canary, "report.txt", "The crane at berth 4", "alice", "person/bob", "spiffe://", "harbour-watch",
		"entente.example/manifest", "entente.example/receipt")
}

// mistakes are what can be wrong with volumes and ports: each time it ends in time, with a sentence and a hint.
func (c *composed) mistakes() {
	c.sh("docker compose stop")

	l, err := net.Listen("tcp", address("127.0.0.1", composeMembers["alpha"]))
	if err != nil {
		c.Fatalf("alpha's port is not free after its end: %v", err)
	}
	c.says(c.failing("docker compose up --detach"), "7444.* address already in use") // docs/containers.md has the hint
	l.Close()
	c.sh("docker compose stop")

	home := func(member string) string {
		return filepath.Join(strings.TrimSpace(c.sh("docker volume inspect -f '{{.Mountpoint}}' ${COMPOSE_PROJECT_NAME}_"+member)), "home")
	}
	// ends starts a member, which must end by itself and say why; the others go on.
	ends := func(member, why string) {
		c.Helper()
		c.sh("docker compose up --detach --no-deps " + member)
		began := time.Now()
		for c.sh("docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' $(docker compose ps -q "+member+")") != "exited 1\n" {
			if time.Since(began) > composeHealthy {
				c.Fatalf("%s goes on", member)
			}
			time.Sleep(200 * time.Millisecond)
		}
		said := c.sh("docker logs --since " + strconv.FormatInt(began.Add(-5*time.Second).Unix(), 10) + " $(docker compose ps -q " + member + ")")
		c.says(said, "^error: "+why+".*\nhint: .+")
	}

	keys := filepath.Join(home("charlie"), "keys")
	c.must(os.Rename(keys, keys+".away"))
	ends("charlie", "there are no keys: /entente/home/keys does not exist")
	c.must(os.Rename(keys+".away", keys))

	secret := filepath.Join(home("bravo"), "keys", "node.key")
	c.must(os.Chmod(secret, 0o644))
	ends("bravo", "/entente/home/keys/node.key may be read or changed by others")
	c.must(os.Chmod(secret, 0o600))
	secret = filepath.Join(home("bravo"), "keys", "statement.key")
	text, err := os.ReadFile(secret)
	c.must(err)
	edited := slices.Clone(text)
	edited[len(edited)-10] ^= 1
	c.must(os.WriteFile(secret, edited, 0o600))
	ends("bravo", ".*statement.key")
	c.must(os.WriteFile(secret, text, 0o600))

	// All is well again, with the same alliance and all documents.
	c.sh("docker compose up --detach")
	c.healthy(time.Now().Add(composeHealthy))
	c.says(c.sh("entente inbox --home people/bravo"), "opened")

	// An older run: one volume is new, the others are not.
	c.sh("docker compose down && docker volume rm ${COMPOSE_PROJECT_NAME}_bravo")
	c.failing("docker compose up --detach")
	c.says(c.sh("docker compose logs --no-color found"), "error: found alliance: bravo has no home .* but there is one of alpha, charlie from before")
	c.says(c.sh("docker compose logs --no-color found"), "hint: remove what is left of the older alliance")
}

func (c *composed) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}
