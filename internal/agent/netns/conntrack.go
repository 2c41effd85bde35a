package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Flow is a connection that the kernel tracks. Unlike the netlink library's type it can be addressed when
// it lies in a zone or is ICMP, since the kernel's own encoding of the tuple is kept.
type Flow struct {
	Zone     uint16
	Mark     uint32
	Protocol uint8
	// Src and Dst of the first packet; ports are 0 for protocols without.
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	// ReplySrc is where answers come from: another address than Dst when the destination was translated.
	// ReplyDst likewise differs from Src when the source was.
	ReplySrc, ReplyDst netip.Addr

	family uint8
	tuple  []byte // CTA_TUPLE_ORIG as the kernel encoded it
}

// Attributes of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaMark       = 8
	ctaZone       = 18
	attrTypeMask  = 0x3fff
)

// Flows lists the tracked connections of the namespace.
func (ns *NS) Flows() ([]Flow, error) {
	var flows []Flow
	err := ns.Do(func() error {
		// Both families in one walk: the kernel goes through its whole table, however little is in it.
		msgs, err := ctRequest(unix.AF_UNSPEC, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP).Execute(unix.NETLINK_NETFILTER, 0)
		if err != nil {
			return fmt.Errorf("list tracked connections: %w", err)
		}
		for _, m := range msgs {
			if f, ok := parseFlow(m); ok {
				flows = append(flows, f)
			}
		}
		return nil
	})
	return flows, err
}

func ctRequest(family uint8, op, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|op, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

func parseFlow(msg []byte) (f Flow, ok bool) {
	if len(msg) < 4 {
		return f, false
	}
	f.family = msg[0]
	attrs, err := nl.ParseRouteAttr(msg[4:])
	if err != nil {
		return f, false
	}
	for _, a := range attrs {
		switch a.Attr.Type & attrTypeMask {
		case ctaTupleOrig:
			f.tuple = a.Value
			f.Src, f.Dst, f.SrcPort, f.DstPort, f.Protocol = parseTuple(a.Value)
		case ctaTupleReply:
			f.ReplySrc, f.ReplyDst, _, _, _ = parseTuple(a.Value)
		case ctaMark:
			f.Mark = binary.BigEndian.Uint32(a.Value)
		case ctaZone:
			f.Zone = binary.BigEndian.Uint16(a.Value)
		}
	}
	return f, f.tuple != nil && f.Src.IsValid()
}

func parseTuple(b []byte) (src, dst netip.Addr, sport, dport uint16, proto uint8) {
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		return
	}
	for _, a := range attrs {
		inner, err := nl.ParseRouteAttr(a.Value)
		if err != nil {
			continue
		}
		for _, x := range inner {
			switch kind := x.Attr.Type & attrTypeMask; {
			case a.Attr.Type&attrTypeMask == 1 && (kind == 1 || kind == 3): // CTA_IP_V4_SRC, CTA_IP_V6_SRC
				src, _ = netip.AddrFromSlice(x.Value)
			case a.Attr.Type&attrTypeMask == 1 && (kind == 2 || kind == 4):
				dst, _ = netip.AddrFromSlice(x.Value)
			case a.Attr.Type&attrTypeMask == 2 && kind == 1:
				proto = x.Value[0]
			case a.Attr.Type&attrTypeMask == 2 && kind == 2:
				sport = binary.BigEndian.Uint16(x.Value)
			case a.Attr.Type&attrTypeMask == 2 && kind == 3:
				dport = binary.BigEndian.Uint16(x.Value)
			}
		}
	}
	return
}

// DeleteFlow forgets a connection; one that is gone already is no error.
func (ns *NS) DeleteFlow(f Flow) error {
	return ns.flowRequest(f, nl.IPCTNL_MSG_CT_DELETE, nil)
}

// MarkFlow sets a connection's mark; one that is gone already is no error.
func (ns *NS) MarkFlow(f Flow, mark uint32) error {
	return ns.flowRequest(f, nl.IPCTNL_MSG_CT_NEW, nl.NewRtAttr(ctaMark, binary.BigEndian.AppendUint32(nil, mark)))
}

func (ns *NS) flowRequest(f Flow, op int, extra *nl.RtAttr) error {
	err := ns.Do(func() error {
		req := ctRequest(f.family, op, unix.NLM_F_ACK)
		req.AddData(nl.NewRtAttr(ctaTupleOrig|unix.NLA_F_NESTED, f.tuple))
		if f.Zone != 0 {
			req.AddData(nl.NewRtAttr(ctaZone, binary.BigEndian.AppendUint16(nil, f.Zone)))
		}
		if extra != nil {
			req.AddData(extra)
		}
		_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
		return err
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("change tracked connection %s to %s (protocol %d, zone %d): %w", f.Src, f.Dst, f.Protocol, f.Zone, err)
	}
	return nil
}
