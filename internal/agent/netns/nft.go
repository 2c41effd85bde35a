package netns

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os/exec"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
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

// NftGeneration is the number of the namespace's ruleset: it grows with every transaction of anybody.
func (ns *NS) NftGeneration() (uint32, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns.Fd()})
	if err != nil {
		return 0, fmt.Errorf("ask for the ruleset's generation: %w", err)
	}
	defer c.Close()
	msgs, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, 0, 0, 0},
	})
	if err != nil {
		return 0, fmt.Errorf("ask for the ruleset's generation: %w", err)
	}
	for _, m := range msgs {
		if len(m.Data) < 4 {
			continue
		}
		attrs, err := netlink.UnmarshalAttributes(m.Data[4:])
		if err != nil {
			return 0, err
		}
		for _, a := range attrs {
			if a.Type == unix.NFTA_GEN_ID && len(a.Data) == 4 {
				return binary.BigEndian.Uint32(a.Data), nil
			}
		}
	}
	return 0, fmt.Errorf("ask for the ruleset's generation: the kernel's answer has none")
}
