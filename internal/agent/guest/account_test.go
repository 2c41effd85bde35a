package guest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"testing"
)

// TestAccount: the guests' user is made where it is missing and goes with the node that made it; one that was there stays.
func TestAccount(t *testing.T) {
	need(t)
	name := fmt.Sprintf("hanok-t%d", os.Getpid())
	t.Cleanup(func() { _ = exec.Command("userdel", name).Run() })
	acc, err := lookupAccount(name)
	if err != nil || acc.uid == 0 {
		t.Fatal(acc, err)
	}
	if err := RemoveTraces(name); err != nil {
		t.Fatal(err)
	}
	var unknown user.UnknownUserError
	if _, err := user.Lookup(name); !errors.As(err, &unknown) {
		t.Errorf("after the purge: %v", err)
	}
	if out, err := exec.Command("useradd", "--system", "--no-create-home", name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := RemoveTraces(name); err != nil {
		t.Fatal(err)
	}
	if _, err := user.Lookup(name); err != nil {
		t.Errorf("a user that was not made for guests is gone: %v", err)
	}
}
