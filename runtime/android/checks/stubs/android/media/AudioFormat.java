package android.media;

public final class AudioFormat {
    public static final int CHANNEL_IN_MONO = 16;
    public static final int ENCODING_PCM_16BIT = 2;

    public static class Builder {
        public Builder setEncoding(int encoding) {
            return this;
        }

        public Builder setSampleRate(int sampleRate) {
            return this;
        }

        public Builder setChannelMask(int channelMask) {
            return this;
        }

        public AudioFormat build() {
            return null;
        }
    }
}
