// Package e2e tests the whole cloud as a user would meet it: the built program, real guests in QEMU, Debian's own openstack
// client, ssh and ping. The test process moves into a network and mount namespace of its own first, without any route to
// the machine's network; everything it starts lives there.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const insideVar = "HANOK_E2E_INSIDE"

func TestMain(m *testing.M) {
	if os.Getenv(insideVar) == "" {
		os.Exit(outside())
	}
	code, err := inside(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// outside runs this test binary again in namespaces of its own.
func outside() int {
	if os.Geteuid() != 0 || os.Getenv("HANOK_TEST_IMAGE") == "" {
		if os.Getenv("HANOK_TEST_REQUIRE") != "" {
			fmt.Fprintln(os.Stderr, "the end-to-end tests need root and HANOK_TEST_IMAGE")
			return 1
		}
		fmt.Println("SKIP: the end-to-end tests need root and HANOK_TEST_IMAGE (`make test` gives both)")
		return 0
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// cloud is the one cloud that the package's tests share.
var cloud struct {
	bin, dir, config string
	summary          string
}

func inside(m *testing.M) (int, error) {
	for _, args := range [][]string{
		{"mount", "--make-rprivate", "/"},
		{"mkdir", "-p", "/run/netns"},
		{"mount", "-t", "tmpfs", "tmpfs", "/run/netns"}, // other tests' namespaces have the same names
		{"ip", "link", "set", "lo", "up"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return 1, fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "hanok-e2e-")
	if err != nil {
		return 1, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // guests' user passes through
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if cloud.bin, err = filepath.Abs("../../bin/hanok"); err != nil {
		return 1, err
	}
	cloud.dir, cloud.config = dir+"/data", dir+"/hanok.toml"
	settings := fmt.Sprintf("[data]\nfolder = %q\n[node]\nname = \"allinone\"\n[log]\nlevel = \"debug\"\n", cloud.dir)
	if err := os.WriteFile(cloud.config, []byte(settings), 0o644); err != nil {
		return 1, err
	}
	defer func() {
		if out, err := hanok(3*time.Minute, "purge", "--yes"); err != nil {
			fmt.Fprintf(os.Stderr, "purge: %v\n%s\n", err, out)
		}
	}()
	start := time.Now()
	out, err := hanok(9*time.Minute, "up", "--wait", "8m", "--demo", "--image", os.Getenv("HANOK_TEST_IMAGE"))
	if err != nil {
		log, _ := os.ReadFile(cloud.dir + "/log/hanok.log")
		return 1, fmt.Errorf("hanok up: %w\n%s\nlog:\n%s", err, out, tail(string(log), 60))
	}
	fmt.Printf("hanok up took %.1f s\n", time.Since(start).Seconds())
	cloud.summary = out
	code := m.Run()
	if code != 0 {
		log, _ := os.ReadFile(cloud.dir + "/log/hanok.log")
		fmt.Printf("end of the cloud's log:\n%s\n", tail(string(log), 60))
	}
	return code, nil
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// hanok runs the program with the shared cloud's configuration and returns its standard output.
func hanok(limit time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return output(exec.CommandContext(ctx, cloud.bin, append([]string{"--config", cloud.config}, args...)...))
}

// output runs a command; what it wrote to standard error is in the error.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, tail(stderr.String(), 20))
	}
	return stdout.String(), nil
}

// openstack runs Debian's client as a cloud of clouds.yaml and fails the test when it fails.
func openstack(t *testing.T, as string, args ...string) string {
	t.Helper()
	out, err := tryOpenstack(t.Context(), as, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func tryOpenstack(ctx context.Context, as string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/openstack", args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/root", "LANG=C.UTF-8", "OS_CLOUD=" + as, "OS_CLIENT_CONFIG_FILE=" + cloud.dir + "/clouds.yaml"}
	return output(cmd)
}

// guestSSH runs a command in a guest and returns its output.
func guestSSH(ctx context.Context, key, ip, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return output(exec.CommandContext(ctx, "ssh", "-i", key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR", "hanok@"+ip, command))
}

// eventually repeats what until it succeeds or limit is over; each try waits on the outside world (a connection, a client's answer).
func eventually(t *testing.T, limit time.Duration, what func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := what(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %v: %v", limit, err)
		case <-tick.C:
		}
	}
}
