// What a test asks of a notebook's page: JupyterLab's own objects and the figures, as plain data.
window.grinder = (() => {
  const panel = () => window.jupyterapp?.shell?.currentWidget;
  const kernel = () => panel()?.sessionContext?.session?.kernel;
  const figures = () => [...panel().node.querySelectorAll('.js-plotly-plot')];

  // How numpy arrays travel to plotly: https://plotly.com/javascript/reference (dtype, bdata, shape).
  const TYPES = {
    i1: Int8Array, u1: Uint8Array, u1c: Uint8ClampedArray, i2: Int16Array, u2: Uint16Array,
    i4: Int32Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array,
  };
  const bytes = data => {
    if (typeof data === 'string') return Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    return ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength))
      : new Uint8Array(data);
  };
  const nested = (values, shape) => {
    if (shape.length < 2) return values;
    const rows = Array.from({length: shape[0]}, (_, i) => values.slice(i * values.length / shape[0], (i + 1) * values.length / shape[0]));
    return rows.map(row => nested(row, shape.slice(1)));
  };
  const plain = value => {
    if (typeof value === 'number') return Number.isFinite(value) ? value : null;
    if (ArrayBuffer.isView(value)) return Array.from(value, plain);
    if (Array.isArray(value)) return value.map(plain);
    if (value === null || typeof value !== 'object') return value;
    if (value.dtype && value.bdata !== undefined) {
      const flat = plain(new TYPES[value.dtype](bytes(value.bdata).buffer));
      return nested(flat, String(value.shape ?? flat.length).split(',').map(Number));
    }
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
  };

  // Through JSON, so that what was read compares equal to what is read.
  const traces = () => JSON.parse(JSON.stringify(figures().map(figure => plain(figure.data))));
  const onCell = (index, command) => {
    const notebook = panel().content;
    notebook.deselectAll();
    notebook.activeCellIndex = index;
    return window.jupyterapp.commands.execute(`notebook:${command}`);
  };
  let pending = false;

  return {
    kernel,
    panel,
    traces,
    status: () => kernel()?.status,
    cells: () => panel().content.widgets.map(cell => cell.model.toJSON()),
    drawn: () => figures().filter(figure => figure.querySelector('.main-svg')).length,
    changed: before => JSON.stringify(traces()) !== JSON.stringify(before),

    // A promise that never settles must not hold the test: begin, and let it wait for `settled` with a limit.
    begin: work => { pending = true; const end = () => { pending = false; }; Promise.resolve(work()).then(end, end); },
    settled: () => !pending,
    run: () => window.jupyterapp.commands.execute('notebook:run-all-cells'),
    runCell: index => onCell(index, 'run-cell'),
    clear: index => onCell(index, 'clear-cell-output'),

    // Where the cells are, scrolled to the first, once they are laid out.
    area: async () => {
      const top = panel().content.node.querySelector('.jp-WindowedPanel-outer') ?? panel().content.node;
      top.scrollTop = 0;
      for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
      const box = top.getBoundingClientRect();
      const last = panel().content.widgets.at(-1).node.getBoundingClientRect();
      return {x: box.x, y: box.y, width: box.width, height: Math.ceil(last.bottom - box.y) + 8};
    },

    // A callback that raises has no cell to show it: only the message says so.
    listen: () => panel().sessionContext.iopubMessage.connect((_, message) => {
      if (message.header.msg_type === 'error' && message.parent_header.msg_type !== 'execute_request')
        console.error(`raised in the kernel: ${message.content.ename}: ${message.content.evalue}\n`
          + message.content.traceback.join('\n').replace(/\x1b\[[0-9;]*m/g, ''));
    }),
  };
})();
