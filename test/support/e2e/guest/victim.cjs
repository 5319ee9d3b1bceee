// Runs in a guest: a service on all its addresses that says when somebody came. Ends when its job is cancelled.
const dgram = require("node:dgram");
const net = require("node:net");

let own = true;
const visited = (how) => {
  console.log(own ? `reached itself by ${how}` : `VISITED by ${how}`);
};
const datagrams = dgram.createSocket("udp4", (_, { address, port }) => {
  visited("udp");
  datagrams.send("victim", port, address);
});
datagrams.bind(9000, "0.0.0.0");
net
  .createServer((socket) => {
    visited("tcp");
    socket.on("error", () => undefined);
    socket.end("victim");
  })
  .listen(9000, "0.0.0.0", () => {
    const socket = net.connect(9000, "172.31.0.2", () => socket.resume());
    socket.on("close", () => {
      own = false;
      console.log("the victim listens");
    });
  });
