package android.content;

public abstract class Context {
    public Context getApplicationContext() {
        return this;
    }

    public android.content.res.AssetManager getAssets() {
        return null;
    }

    public java.io.File getFilesDir() {
        return null;
    }

    public int checkSelfPermission(String permission) {
        return 0;
    }
}
