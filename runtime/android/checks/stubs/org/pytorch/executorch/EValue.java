package org.pytorch.executorch;

/** Stands in for ExecuTorch's class of this name, as far as the lib module uses it. */
public final class EValue {
    private final Object value;

    private EValue(Object value) {
        this.value = value;
    }

    public static EValue from(Tensor value) {
        return new EValue(value);
    }

    public static EValue from(long value) {
        return new EValue(value);
    }

    public Tensor toTensor() {
        if (value instanceof Tensor) return (Tensor) value;
        throw new IllegalStateException("Expected EValue type Tensor");
    }

    public long toInt() {
        if (value instanceof Long) return (Long) value;
        throw new IllegalStateException("Expected EValue type Int");
    }
}
