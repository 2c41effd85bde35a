package netns

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Nft hands one transaction to `nft -f -` inside the namespace: the kernel takes all of it or nothing.
// Scripts are made of our own words, numbers and parsed addresses only.
func (ns *NS) Nft(ctx context.Context, script string) error {
	_, err := ns.nft(ctx, script, "-f", "-")
	return err
}

// NftList is the text of the namespace's ruleset, or of one table ("inet hanok").
func (ns *NS) NftList(ctx context.Context, table ...string) (string, error) {
	if len(table) == 0 {
		return ns.nft(ctx, "", "list", "ruleset")
	}
	return ns.nft(ctx, "", append([]string{"list", "table"}, strings.Fields(table[0])...)...)
}

func (ns *NS) nft(ctx context.Context, stdin string, args ...string) (string, error) {
	var out, errOut bytes.Buffer
	err := ns.Do(func() error {
		cmd := exec.CommandContext(ctx, "nft", args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
		return cmd.Run()
	})
	if err != nil {
		msg := strings.TrimSpace(errOut.String())
		if len(msg) > 600 {
			msg = msg[:600] + "…"
		}
		return "", fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, msg)
	}
	return out.String(), nil
}
