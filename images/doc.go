// Package images holds the builder of the small guest image (build.sh and what it copies into the guest). The
// package itself is the test of that image: it builds it and boots it under QEMU. It must not know anything
// of the cloud: the guest sees a config drive, a DHCP server and a metadata service, wherever they come from.
package images
